"""What the simulators remember: in memory, or kept in a file that survives a restart, even a kill.

A store of a simulator takes a table and uses it like a dictionary. Each change is in the file before the change's
response is sent. What is kept includes card numbers and personal data, so values are encrypted, under a key that lies
beside the file: that keeps them away from searches and copies of the file alone, not from readers of the folder.
"""

import sqlite3
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from cryptography.fernet import Fernet, InvalidToken
from pydantic import TypeAdapter, ValidationError

__all__ = ["STATE_FILES", "KeptState", "MemoryState", "State", "StateError"]

_Value = TypeVar("_Value")

_FILE: Final = "state.db"
_KEY_FILE: Final = "state.key"
STATE_FILES: Final = (_FILE, f"{_FILE}-wal", f"{_FILE}-shm", _KEY_FILE)
"""The files of a kept state."""

_APPLICATION_ID: Final = 0x44315342
"""In the header of the file: no other program's database has it."""
_VERSION: Final = 1
"""Raise it when a kept value changes its shape, and convert older values."""

_SCHEMA: Final = f"""
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS kept (
        place INTEGER PRIMARY KEY, of TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, UNIQUE (of, name)
    );
    PRAGMA application_id = {_APPLICATION_ID};
    PRAGMA user_version = {_VERSION};
    COMMIT;
"""
_PUT: Final = "INSERT INTO kept (of, name, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"


class StateError(Exception):
    """The kept state cannot be used. The text says why, and what to do."""


class State(Protocol):
    """The tables of a sandbox's simulators."""

    def table(self, name: str, kind: type[_Value]) -> MutableMapping[str, _Value]:
        """Return a table, oldest entry first.

        Args:
            name: Its name, unique in the sandbox.
            kind: The type of its values, which pydantic must be able to write as JSON.
        """
        ...

    def together(self) -> AbstractContextManager[None]:
        """Keep all changes of the block, which must not wait for anything, or none if it raises an error."""
        ...


class MemoryState:
    """A state that ends with the sandbox."""

    def table(self, name: str, kind: type[_Value]) -> MutableMapping[str, _Value]:
        """Return an empty table."""
        del name, kind
        return {}

    def together(self) -> AbstractContextManager[None]:
        """Change nothing about the block: nothing is kept, so no write can fail half-way."""
        return nullcontext()


class KeptState:
    """A state in a folder. Made by `open`."""

    def __init__(self, database: sqlite3.Connection, cipher: Fernet) -> None:
        self._database = database
        self._cipher = cipher
        self._tables: list[_Table[Any]] = []

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator["KeptState"]:
        """Open the state of a folder for the duration of the block, or begin one there.

        Raises:
            StateError: The file is another program's, damaged, or of a newer version; or its key is missing.
        """
        file = folder / _FILE
        cipher = _cipher(folder / _KEY_FILE, is_new=not file.exists())
        file.touch(mode=0o600)
        with ExitStack() as opened:
            try:
                database = opened.enter_context(closing(sqlite3.connect(file, isolation_level=None)))
                _prepare(database, file)
            except sqlite3.Error as error:
                raise StateError(f"{file} cannot be used: {error}; --fresh begins anew without it") from None
            yield cls(database, cipher)

    def table(self, name: str, kind: type[_Value]) -> MutableMapping[str, _Value]:
        """Return a table with the entries that were kept.

        A change of the table raises `StateError`, and does not happen, if it cannot be written.

        Raises:
            StateError: An entry is damaged.
        """
        table = _Table(self._database, self._cipher, name, TypeAdapter(kind))
        self._tables.append(table)
        return table

    @contextmanager
    def together(self) -> Iterator[None]:
        """See `State.together`. A block within another one belongs to it.

        Raises:
            StateError: The changes cannot be written; none of them happened.
        """
        if self._database.in_transaction:
            yield
            return
        self._execute("BEGIN IMMEDIATE")
        for table in self._tables:
            table.is_changed = False
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            # Without effect if SQLite has already rolled back by itself, as with a full disk.
            self._database.rollback()
            for table in self._tables:
                if table.is_changed:
                    table.read()
            raise

    def _execute(self, statement: str) -> None:
        try:
            self._database.execute(statement)
        except sqlite3.Error as error:
            raise StateError(f"{_FILE} cannot be written: {error}") from None


class _Table(MutableMapping[str, _Value], Generic[_Value]):
    """Reads from memory, writes to memory and to the file."""

    def __init__(self, database: sqlite3.Connection, cipher: Fernet, name: str, kind: TypeAdapter[_Value]) -> None:
        self._database = database
        self._cipher = cipher
        self._name = name
        self._kind = kind
        self._entries: dict[str, _Value] = {}
        self.is_changed = False
        """Whether it was changed since `KeptState.together` began."""
        self.read()

    def read(self) -> None:
        """Read what the file has.

        Raises:
            StateError: An entry is damaged.
        """
        rows = self._database.execute("SELECT name, value FROM kept WHERE of = ? ORDER BY place", (self._name,))
        try:
            self._entries = {key: self._kind.validate_json(self._cipher.decrypt(value)) for key, value in rows}
        except (sqlite3.DatabaseError, InvalidToken, ValidationError, TypeError):
            # Nothing of the entry is quoted.
            raise StateError(
                f"{_FILE}: an entry of {self._name} is damaged, or {_KEY_FILE} is not its key; "
                "--fresh begins anew without it"
            ) from None

    def __getitem__(self, key: str) -> _Value:
        return self._entries[key]

    def __setitem__(self, key: str, value: _Value) -> None:
        self._write(_PUT, self._name, key, self._cipher.encrypt(self._kind.dump_json(value)))
        self._entries[key] = value

    def __delitem__(self, key: str) -> None:
        self._write("DELETE FROM kept WHERE of = ? AND name = ?", self._name, key)
        del self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def _write(self, change: str, *values: str | bytes) -> None:
        self.is_changed = True
        try:
            self._database.execute(change, values)
        except sqlite3.Error as error:
            raise StateError(f"{_FILE} cannot be written: {error}") from None


def _cipher(file: Path, *, is_new: bool) -> Fernet:
    if is_new:
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_bytes(Fernet.generate_key())
    try:
        return Fernet(file.read_bytes())
    except FileNotFoundError:
        raise StateError(f"{file} is missing: nobody can read {_FILE} without it; --fresh begins anew") from None
    except ValueError:
        raise StateError(f"{file} is not a key; --fresh begins anew") from None


def _prepare(database: sqlite3.Connection, file: Path) -> None:
    def pragma(name: str) -> int | str:
        value: int | str = database.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    application_id, version = pragma("application_id"), pragma("user_version")
    # An empty file is one whose making was interrupted.
    if application_id != _APPLICATION_ID and pragma("page_count") != 0:
        raise StateError(f"{file} is not a sandbox's: choose another folder")
    if int(version) > _VERSION:
        raise StateError(
            f"{file} was written by a newer d1-gateway: use that one, choose another folder, or begin anew with --fresh"
        )
    if pragma("quick_check") != "ok":
        raise StateError(f"{file} is damaged; --fresh begins anew without it")
    pragma("journal_mode = WAL")
    database.executescript(f"PRAGMA synchronous = NORMAL; {_SCHEMA}")
