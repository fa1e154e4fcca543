"""Backups of an event log: one sealed file, which has its name only once it is complete and on disk."""

import errno
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from adapters.sqlite import schema, seal
from adapters.sqlite.events import read_bounds
from adapters.sqlite.files import sync_folder
from adapters.sqlite.snapshot import looking_at
from gateway.aio.clock import wall_clock_ms
from gateway.ports import Backup, BackupFailedError, BackupUnusableError, Engine, ReportProgress

__all__ = ["Unfinished", "back_up", "describe", "unfinished"]

_PAGES_AT_ONCE = 2_000
_SPARE_BYTES = 16 * 1024 * 1024
"""Space that a backup leaves: the disk may be that of the event log, which grows meanwhile."""
_SHARE_OF_TIME = 0.4
"""The part of the time in which it copies. The gateway needs the disk, and the second core of a small machine."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A backup that is being made, under a name of its own."""

    path: Path
    """Where its SQLite file is written."""

    def finish(self, backup: Backup, report: ReportProgress) -> None:
        """Seal what was written. Blocks.

        Raises:
            OSError: The disk is full, or fails.
        """
        seal.attach(self.path, backup, report)


@contextmanager
def unfinished(file: Path, *, overwrites: bool) -> Iterator[Unfinished]:
    """Have a backup made for as long as the context lasts, and give it its name at the end. Blocks.

    Nothing is left of one that fails. One that is killed leaves a file that ends with ``.part``, which the next one
    uses again.

    Args:
        file: The name.
        overwrites: Whether it may replace an earlier backup, the only file that it replaces.

    Raises:
        BackupUnusableError: The file exists, its folder cannot be written, or another backup is being made there.
        BackupFailedError: The disk is full, or fails.
    """
    part = file.with_name(f"{file.name}.part")
    try:
        _reject_existing(file, overwrites=overwrites)
        lock = _begin(part)
    except OSError as error:
        raise BackupUnusableError(f"{file} cannot be written: {error.strerror}") from error
    try:
        yield Unfinished(part)
        _reject_existing(file, overwrites=overwrites)
        _remove_companions(part)
        part.replace(file)
        sync_folder(file.parent)
    except (OSError, sqlite3.Error) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise BackupFailedError(f"the backup {file} failed: {what}; nothing of it is left") from error
    finally:
        # A file under this name that is not ours is that of the next backup.
        if _is_at(part, os.fstat(lock)):
            part.unlink()
            _remove_companions(part)
        os.close(lock)


def back_up(
    path: Path, file: Path, *, version: str, key_entry: str, overwrites: bool, report: ReportProgress
) -> Backup:
    """Back up a log, which a gateway may use. Blocks.

    Args:
        path: The log's file.
        file: The backup to make.
        version: The version of the gateway.
        key_entry: The entry of the key-value store that has the id of the key of the idempotency records.
        overwrites: Whether it may replace an earlier backup.
        report: Called with the bytes that are done, and all: each is copied, and then read for the digest.

    Raises:
        EventLogOpenError: The log is missing, or cannot be read.
        BackupUnusableError: The backup cannot be written there.
        BackupFailedError: It failed midway.
    """
    with looking_at(path) as connection, unfinished(file, overwrites=overwrites) as made:
        time_ms = wall_clock_ms()
        # From here on it sees the log as it is now, whatever the gateway stores meanwhile.
        connection.execute("BEGIN")
        backup = describe(connection, Engine.SQLITE, version=version, time_ms=time_ms, key_entry=key_entry)
        size = backup.size_bytes
        _require_space(made.path, size)
        _copy(connection, made.path, lambda done: report(done, 2 * size))
        connection.execute("ROLLBACK")
        made.finish(backup, lambda done, _: report(size + done, 2 * size))
    return backup


def describe(connection: sqlite3.Connection, engine: Engine, *, version: str, time_ms: int, key_entry: str) -> Backup:
    """Return what the seal of a backup of a log says; see `Backup`.

    Raises:
        sqlite3.Error: The log cannot be read.
    """
    (size,) = connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()
    (events,) = connection.execute("SELECT count(*) FROM event").fetchone()
    (subscriptions,) = connection.execute("SELECT count(*) FROM subscription").fetchone()
    return Backup(
        engine=engine,
        log_id=schema.read_log_id(connection),
        last=read_bounds(connection).last,
        events=events,
        subscriptions=subscriptions,
        schema=schema.read_version(connection),
        version=version,
        time_ms=time_ms,
        key_id=_key_id(connection, key_entry),
        size_bytes=size,
    )


def _key_id(connection: sqlite3.Connection, key_entry: str) -> str:
    with suppress(sqlite3.OperationalError):  # Schema 1 has no entries.
        row = connection.execute("SELECT value FROM entry WHERE key = ?", (key_entry,)).fetchone()
        return "" if row is None else bytes(row[0]).decode(errors="replace")
    return ""


def _copy(connection: sqlite3.Connection, part: Path, report: Callable[[int], None]) -> None:
    """Copy all pages, a part of the time only, and each to the disk at once: one sync of all would hold up others'."""
    began = time.monotonic()

    def pause(_: int, left: int, total: int) -> None:
        nonlocal began
        os.fdatasync(descriptor)
        report((total - left) * page_bytes)
        if left:
            time.sleep((time.monotonic() - began) * (1 / _SHARE_OF_TIME - 1))
        began = time.monotonic()

    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    descriptor = os.open(part, os.O_RDWR | os.O_CLOEXEC)
    try:
        with closing(sqlite3.connect(part, isolation_level=None)) as copy:
            # Whatever happens to it before it is complete, nobody reads it.
            copy.execute("PRAGMA synchronous = OFF")
            copy.execute("PRAGMA journal_mode = OFF")
            connection.backup(copy, pages=_PAGES_AT_ONCE, progress=pause)
    finally:
        os.close(descriptor)


def _require_space(part: Path, size: int) -> None:
    """Fail before a disk is full that the gateway may need, too.

    Raises:
        OSError: There is too little space.
    """
    disk = os.statvfs(part.parent)
    if disk.f_bavail * disk.f_frsize < size + _SPARE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _begin(part: Path) -> int:
    """Return a descriptor of the empty file, locked so that nobody else makes this backup."""
    lock = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    found = os.fstat(lock)
    is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
    # Locked too late, it may be a backup that has its name by now.
    if not is_ours or not _is_locked(lock) or not _is_at(part, found):
        os.close(lock)
        problem = "is in use: another backup is being made" if is_ours else "is not a file of this user: remove it"
        raise BackupUnusableError(f"{part} {problem}")
    os.fchmod(lock, 0o600)
    os.ftruncate(lock, 0)
    _remove_companions(part)
    return lock


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.lstat(), found)
    except FileNotFoundError:
        return False


def _reject_existing(file: Path, *, overwrites: bool) -> None:
    if not overwrites and os.path.lexists(file):
        raise BackupUnusableError(f"{file} exists: choose another name, or replace it with --force")
    if file.is_dir():
        raise BackupUnusableError(f"{file} is a folder")
    is_empty = file.is_file() and not file.stat().st_size
    if file.exists() and not is_empty and not (file.is_file() and seal.is_backup(file)):
        # It may be the event log itself, its key, or a device.
        raise BackupUnusableError(f"{file} is no backup, and --force replaces nothing else: choose another name")


def _remove_companions(part: Path) -> None:
    for suffix in ("-wal", "-shm", "-journal", ".lock"):
        part.with_name(f"{part.name}{suffix}").unlink(missing_ok=True)
