"""The database files: exclusive access, and connections."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from io import FileIO
from pathlib import Path

from adapters.sqlite import schema, subscriptions
from adapters.sqlite.damage import DamagedSubscriptionError
from adapters.sqlite.events import read_bounds
from adapters.sqlite.files import Files
from gateway.ports import LogBounds

__all__ = [
    "ASIDE",
    "Database",
    "EventLogOpenError",
    "FileLostError",
    "claim",
    "connect_reader",
    "connect_writer",
    "open_database",
]

ASIDE = ".before-"
"""What follows the name of a log in those of the logs that a restore has replaced."""

_BUSY_TIMEOUT_SECONDS = 0.5
"""How long a connection waits for another process's lock."""

_PATIENCE_SECONDS = 15.0
"""How long the start waits for programs that read the file, such as a backup."""

_STATEMENT_CACHE_SIZE = 256

_CHECKPOINT_PAGES = 4_000
"""The pages in the write-ahead log, of 4 KiB, after which SQLite copies them to the file. Commits wait for it. At its
default, 1,000, it takes a tenth of the throughput, and each page is copied more often; a larger log takes longer to
read after a crash."""


class EventLogOpenError(Exception):
    """The event log cannot be opened. The message names the file and the reason."""


class FileLostError(sqlite3.OperationalError):
    """A file of the database was deleted, moved, replaced or truncated."""


@dataclass(frozen=True, slots=True)
class Database:
    """A database that this process owns."""

    path: Path
    """The path without symbolic links."""
    log_id: str
    """The log's identity."""
    bounds: LogBounds
    """The log's bounds when the database was opened."""
    damaged: Sequence[DamagedSubscriptionError]
    """The subscriptions that were not what had been stored. Watchers of one whose name has changed begin anew."""
    lock: FileIO
    """Excludes other gateways while it is open."""
    files: Files
    """The files that have to stay in place."""

    def close(self) -> None:
        """Close the files, after all connections but the writer's. Blocks."""
        self.files.close()
        self.lock.close()


def open_database(path: Path) -> Database:
    """Lock a database, creating it if needed. Blocks.

    Raises:
        EventLogOpenError: The folder or the file is not writable, another process has the log open, the file has hard
            links, or it is not an event log that this version can use. Such a file stays unchanged.
    """
    named, path = path.absolute(), path.resolve()
    with contextlib.ExitStack() as undo:
        try:
            lock = undo.enter_context(claim(path))
            _create_private(path)
            _drop_second_names(path)
            _reject_hard_links(path)
            with contextlib.closing(_connect(path, "rw")) as connection:
                connection.execute(f"PRAGMA busy_timeout = {round(_PATIENCE_SECONDS * 1000)}")
                _prepare(path, connection)
                _make_durable(connection)
                log_id, bounds = schema.read_log_id(connection), read_bounds(connection)
                damaged = subscriptions.read(connection).damaged
                database = Database(path, log_id, bounds, damaged, lock, Files(named, path))
        except UnicodeDecodeError as error:
            # SQLite names what it cannot parse, and Python cannot decode that.
            raise EventLogOpenError(f"The event log {path} cannot be opened: its schema is damaged.") from error
        except (OSError, sqlite3.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise EventLogOpenError(f"The event log {path} cannot be opened: {reason}.") from error
        undo.pop_all()
    return database


def connect_writer(database: Database) -> sqlite3.Connection:
    """Open a connection that writes. The database's present content is on disk when this returns.

    Raises:
        sqlite3.Error: The storage is not usable.
    """
    connection = _connect_in_place(database, "rw")
    try:
        _make_durable(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(database: Database) -> sqlite3.Connection:
    """Open a connection that only reads.

    Raises:
        sqlite3.Error: The storage is not usable.
    """
    return _connect_in_place(database, "ro")


def _connect_in_place(database: Database, mode: str) -> sqlite3.Connection:
    connection = _connect(database.path, mode)
    # After connecting: a file that is in place now was in place then.
    if not database.files.is_in_place():
        connection.close()
        raise FileLostError
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # A connection moves between threads; one thread uses it at a time.
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENT_CACHE_SIZE,
    )


def claim(path: Path) -> FileIO:
    """Lock a log, by a file beside it, until that is closed.

    Raises:
        EventLogOpenError: Another process has it.
        OSError: The folder cannot be written.
    """
    lock = FileIO(path.with_name(f"{path.name}.lock"), "a", opener=_private)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise EventLogOpenError(f"The event log {path} is in use by another process; stop it first.") from None
    return lock


def _create_private(path: Path) -> None:
    # SQLite gives the -wal and -shm files the same permissions.
    FileIO(path, "a", opener=_private).close()


def _drop_second_names(path: Path) -> None:
    # Of a restore that was killed before it put the other file in place.
    for each in path.parent.glob(f"{escape(path.name)}{ASIDE}*"):
        if each.samefile(path):
            each.unlink()


def _reject_hard_links(path: Path) -> None:
    # Under another name of the file, neither our lock nor SQLite's write-ahead log is found.
    if path.stat().st_nlink > 1:
        raise EventLogOpenError(f"The event log {path} has hard links; remove them first.")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    new = schema.is_empty(connection)
    if not new and (reason := schema.mismatch(connection)):
        raise EventLogOpenError(f"The file {path} cannot be used as an event log: {reason}.")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise EventLogOpenError(f"The event log {path} is on a file system without shared memory for SQLite's WAL.")
    # Even without changes: this detects a database that is not writable.
    connection.execute("BEGIN IMMEDIATE")
    if new:
        schema.create(connection)
    else:
        schema.migrate(connection)
    connection.execute("COMMIT")


def _make_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    # A crash or a failed commit may leave a transaction that is readable but was never synced. A duplicate of it would
    # be acknowledged without being on disk. The checkpoint writes and syncs it again.
    (blocked, _, _) = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
    if blocked:
        raise sqlite3.OperationalError("database is locked")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
