"""Puts a backup in the place of an event log. A kill at any moment leaves the former log there, or the restored one."""

import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from adapters.sqlite import schema, seal
from adapters.sqlite.damage import is_corruption
from adapters.sqlite.database import ASIDE, claim
from adapters.sqlite.events import read_bounds
from adapters.sqlite.files import sync_folder
from gateway.ports import Backup, BackupFailedError, BackupUnusableError, ReportProgress

__all__ = ["Restored", "extract", "restore"]

_BUSY_TIMEOUT_SECONDS = 5.0
_MIDWAY = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored log."""

    backup: Backup
    """What it was restored from."""
    log_id: str
    """Its epoch."""
    aside: Path | None
    """Where the former log is now, or its write-ahead log if that was all; None if there was none."""
    lost: int | None
    """At most so many notifications the former log had after the backup; None if nobody knows."""


def restore(file: Path, path: Path, *, keeps_epoch: bool, report: ReportProgress) -> Restored:
    """Restore a backup. Blocks.

    Args:
        file: The backup, which stays as it is.
        path: Where the log is to be. One that is there is kept aside.
        keeps_epoch: Whether cursors stay valid, because nothing was stored after the backup.
        report: Called with the bytes that were copied, and all.

    Raises:
        BackupUnusableError: It is no backup, or one that this version cannot use; or the log cannot be replaced.
        BackupDamagedError: The backup is not as it was written.
        BackupFailedError: The disk is full, or fails.
        EventLogOpenError: A gateway uses the log.
    """
    path = path.resolve()
    seal.read(file)
    _reject_place(path)
    with _failing(f"{file} was not restored"), claim(path):
        new = path.with_name(f".{path.name}.restored")
        try:
            backup, log_id = extract(file, new, keeps_epoch=keeps_epoch, report=report)
            aside, lost = _keep_aside(path, backup) if path.exists() else (_keep_rest(path), None)
            new.replace(path)
            sync_folder(path.parent)
        finally:
            new.unlink(missing_ok=True)
    return Restored(backup, log_id, aside, lost)


def extract(file: Path, new: Path, *, keeps_epoch: bool, report: ReportProgress) -> tuple[Backup, str]:
    """Make an event log of a backup, in place of any other file. Blocks. Returns what the backup is, and the epoch.

    Raises:
        OSError: The disk is full, or fails.
        sqlite3.Error: As before.
        BackupUnusableError: See `restore`, as for the other one.
        BackupDamagedError: See `restore`.
    """
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        backup = seal.verify(file, report, written.write)
    seal.set_application_id(new, schema.APPLICATION_ID)
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        # In memory: the journal of one that was killed would be taken for this one's.
        connection.execute("PRAGMA journal_mode = MEMORY")
        if reason := schema.mismatch(connection):
            raise BackupUnusableError(f"The file {file} cannot be used as an event log: {reason}.")
        connection.execute("BEGIN IMMEDIATE")
        log_id = schema.read_log_id(connection) if keeps_epoch else schema.renew_log_id(connection)
        connection.execute("COMMIT")
    with new.open("rb") as written:
        os.fsync(written.fileno())
    return backup, log_id


def _reject_place(path: Path) -> None:
    if not path.parent.is_dir():
        raise BackupUnusableError(f"event_log.path: the folder {path.parent} does not exist")
    owner = (path if path.exists() else path.parent).stat().st_uid
    if os.geteuid() == 0 != owner:
        raise BackupUnusableError(
            f"event_log.path: {path} is of user {owner}, who could not open a file of root's: run this as that user"
        )


def _keep_rest(path: Path) -> Path | None:
    """Rename what is left of a log whose file is gone: SQLite would copy it into the restored one."""
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    journals = _journals(path, _aside(path))
    # A reader makes an empty one.
    _delete(each for each, _ in journals if not each.stat().st_size)
    kept = [each.rename(second) for each, second in journals if each.exists()]
    return kept[0] if kept else None


def _keep_aside(path: Path, backup: Backup) -> tuple[Path, int | None]:
    """Give the former log a second name. Returns that, and what it has that the backup has not."""
    aside = _aside(path)
    journals = _journals(path, aside)
    for each, second in journals:
        # SQLite deletes it when it has copied what it takes for valid.
        second.hardlink_to(each)
    try:
        lost = _settle(path, backup)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if isinstance(error, sqlite3.OperationalError) and not is_corruption(error):
            _delete(second for _, second in journals)
            raise
        # No gateway could use it. What is beside it would be taken for the restored log's.
        _delete(each for each, _ in journals)
        lost = None
    else:
        _delete(second for _, second in journals)
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    aside.hardlink_to(path)
    sync_folder(path.parent)
    return aside, lost


def _delete(files: Iterable[Path]) -> None:
    for each in files:
        each.unlink(missing_ok=True)


def _settle(path: Path, backup: Backup) -> int | None:
    """Move everything into the one file, so that one rename replaces it."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None
    )
    with closing(connection):
        connection.execute("PRAGMA synchronous = FULL")
        if connection.execute("PRAGMA journal_mode = DELETE").fetchone() != ("delete",):
            raise sqlite3.OperationalError("database is locked")
        if (
            schema.is_empty(connection)
            or schema.mismatch(connection)
            or schema.read_log_id(connection) != backup.log_id
        ):
            return None
        return max(0, read_bounds(connection).last - backup.last)


def _aside(path: Path) -> Path:
    """Return an unused name for the former log."""
    first = path.with_name(f"{path.name}{ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    number, unused = 1, first
    while any(os.path.lexists(each) for each in (unused, *_beside(unused))):
        number += 1
        unused = first.with_name(f"{first.name}-{number}")
    return unused


def _journals(path: Path, aside: Path) -> list[tuple[Path, Path]]:
    """Return the journals that a file has, each with its name beside another file."""
    return [each for each in zip(_beside(path), _beside(aside), strict=True) if each[0].exists()]


def _beside(path: Path) -> list[Path]:
    """Return the names of a file's write-ahead log and of its rollback journal."""
    return [path.with_name(f"{path.name}{end}") for end in ("-wal", "-journal")]


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _MIDWAY:
            raise BackupFailedError(f"{what}, and nothing was changed: {error.strerror}") from error
        raise BackupUnusableError(f"{what}: {error.filename}: {error.strerror}") from error
    except sqlite3.Error as error:
        hint = "; another program reads the event log" if "locked" in str(error) else ""
        raise BackupFailedError(f"{what}, and nothing was changed: {error}{hint}") from error
