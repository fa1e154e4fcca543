"""The database's files: who may open them, and how connections are made."""

import contextlib
import fcntl
import os
import sqlite3
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from adapters.sqlite import schema
from adapters.sqlite.events import read_bounds
from gateway.ports import LogBounds

__all__ = ["Database", "EventLogOpenError", "FileLostError", "connect_reader", "connect_writer", "open_database"]

_BUSY_TIMEOUT_SECONDS = 0.5
"""How long a connection waits for a lock of another process before it gives up."""

_STATEMENT_CACHE_SIZE = 256


class EventLogOpenError(Exception):
    """The event log cannot be opened. The message says which file, and why."""


class FileLostError(sqlite3.OperationalError):
    """The database's file is no longer in its place."""


@dataclass(frozen=True, slots=True)
class Database:
    """An event log's database that this process owns."""

    path: Path
    """Where it is, without symbolic links."""
    log_id: str
    """The log's identity."""
    bounds: LogBounds
    """What it holds."""
    lock: FileIO
    """Keeps other gateways out as long as it is open."""
    device: int
    """With the inode: which file it is, whatever its name."""
    inode: int

    def is_in_place(self) -> bool:
        """Tell whether the file is still the one with its name: not deleted, moved or replaced."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (self.device, self.inode)


def open_database(path: Path) -> Database:
    """Claim an event log's database, made now if there is none. Blocks.

    Raises:
        EventLogOpenError: The folder or the file cannot be written, another process has the log open, the file has
            hard links, or it is not an event log that this version can use. Such a file is left as it is.
    """
    path = path.resolve()
    with contextlib.ExitStack() as undo:
        try:
            lock = undo.enter_context(_claim(path))
            _create_private(path)
            _refuse_other_names(path)
            with contextlib.closing(_connect(path, "rw")) as connection:
                _prepare(path, connection)
                _make_durable(connection)
                log_id, bounds, file = schema.read_log_id(connection), read_bounds(connection), path.stat()
                database = Database(path, log_id, bounds, lock, file.st_dev, file.st_ino)
        except (OSError, sqlite3.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise EventLogOpenError(f"The event log {path} cannot be opened: {reason}.") from error
        undo.pop_all()
    return database


def connect_writer(database: Database) -> sqlite3.Connection:
    """Open a connection that writes; what stands in the database then is on disk.

    Raises:
        sqlite3.Error: The storage is still not usable.
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
    # Not before: what is in place now was so when it was opened.
    if not database.is_in_place():
        connection.close()
        raise FileLostError
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # A connection moves between threads, but only one uses it at a time.
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENT_CACHE_SIZE,
    )


def _claim(path: Path) -> FileIO:
    lock = FileIO(path.with_name(f"{path.name}.lock"), "a", opener=_private)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise EventLogOpenError(f"The event log {path} is in use by another process: stop that one first.") from None
    return lock


def _create_private(path: Path) -> None:
    # SQLite gives the -wal and -shm files the permissions of the database.
    FileIO(path, "a", opener=_private).close()


def _refuse_other_names(path: Path) -> None:
    # Neither our lock nor SQLite's write-ahead log is found under another name of the same file.
    if path.stat().st_nlink > 1:
        raise EventLogOpenError(f"The event log {path} has other names too (hard links): remove them first.")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _prepare(path: Path, connection: sqlite3.Connection) -> None:
    new = schema.is_empty(connection)
    if not new and (reason := schema.mismatch(connection)):
        raise EventLogOpenError(f"The file {path} cannot be used as an event log: {reason}.")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise EventLogOpenError(f"The event log {path} is on a file system without shared memory for SQLite's WAL.")
    # Also when there is nothing to make: a database that cannot be written is found out here.
    connection.execute("BEGIN IMMEDIATE")
    if new:
        schema.create(connection)
    else:
        schema.migrate(connection)
    connection.execute("COMMIT")


def _make_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    # A process that died, or a commit that failed, may have left a transaction that can be read but was never synced.
    # A duplicate of it would be answered from memory only. The checkpoint writes and syncs it anew.
    (blocked, _, _) = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
    if blocked:
        raise sqlite3.OperationalError("database is locked")
