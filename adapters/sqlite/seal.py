"""The seal of a backup: a last line behind the SQLite file, with what the backup is and a digest of everything.

SQLite leaves out of account what follows the pages that its header counts, so a sealed file is still a database.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson
from pydantic import TypeAdapter

from adapters.sqlite.schema import APPLICATION_ID, BACKUP_APPLICATION_ID, too_new
from gateway.ports import Backup, BackupDamagedError, BackupUnusableError, ReportProgress

__all__ = ["attach", "is_backup", "read", "set_application_id", "verify"]

_FORM: Final = "d1-gateway-backup"
_FORM_VERSION: Final = 1
_DIGEST: Final = "sha256"
_BEGINNING: Final = b'\n{"%b":' % _FORM.encode()
_END: Final = b"}\n"
_NO_END: Final = "its end is missing"
_MAX_BYTES: Final = 4096
_MAX_TIME_MS: Final = 253_402_300_799_999
"""The end of the year 9999."""
_CHUNK_BYTES: Final = 4 * 1024 * 1024

_SQLITE: Final = b"SQLite format 3\0"
_FORMAT_VERSIONS_AT: Final = 18
_NO_WAL: Final = b"\1\1"
_APPLICATION_ID_AT: Final = 68
"""Places in the header; https://sqlite.org/fileformat2.html#the_database_header."""


def attach(path: Path, backup: Backup, report: ReportProgress) -> None:
    """Append the seal to a SQLite file, which is on disk when this returns. Blocks.

    Args:
        path: The file, of which nothing is in a write-ahead log.
        backup: What the seal says.
        report: Called with the bytes of it that the digest has, and all.

    Raises:
        OSError: The file cannot be read or written.
    """
    set_application_id(path, BACKUP_APPLICATION_ID)
    fields = {_FORM: _FORM_VERSION, **asdict(backup)}
    with path.open("r+b") as file:
        digest = _digest(file, backup.size_bytes, fields, report, lambda _: None)
        file.seek(backup.size_bytes)
        file.write(b"\n%b\n" % orjson.dumps(fields | {_DIGEST: digest}))
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Backup:
    """Read the seal, without comparing the digest. Blocks.

    Raises:
        BackupUnusableError: It is no backup, or one that this version cannot use.
        BackupDamagedError: Its seal is missing or damaged, or its size is another one.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file)[0]
    except OSError as error:
        raise _unreadable(path, error) from error


def verify(path: Path, report: ReportProgress, sink: Callable[[bytes], object] = lambda _: None) -> Backup:
    """Read the seal, and compare the digest. Blocks.

    Args:
        path: The file.
        report: Called with the bytes that were compared, and all.
        sink: Called with each piece of the SQLite file, in order.

    Raises:
        BackupUnusableError: See `read`.
        BackupDamagedError: See `read`; or what is in the file is not what was written.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        backup, fields, expected = _read(path, file)
        if _digest(file, backup.size_bytes, fields, report, sink) != expected:
            raise BackupDamagedError(f"{path} is damaged: it is not what was written (SHA-256)")
    return backup


def is_backup(path: Path) -> bool:
    """Return whether a file was made as a backup, even if it is damaged. Blocks.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return _application_id(file) == BACKUP_APPLICATION_ID


def set_application_id(path: Path, application_id: int) -> None:
    """Say in the header of a SQLite file what it is, and that it has no write-ahead log. Blocks.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("r+b") as file:
        file.seek(_FORMAT_VERSIONS_AT)
        file.write(_NO_WAL)
        file.seek(_APPLICATION_ID_AT)
        file.write(application_id.to_bytes(4, "big"))


def _read(path: Path, file: BinaryIO) -> tuple[Backup, dict[str, Any], str]:
    """Return what the seal says, the fields that its digest includes, and the digest."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _MAX_BYTES))
    tail = file.read()
    place = tail.rfind(_BEGINNING)
    if place < 0:
        raise _unsealed(path, file)
    if not tail.endswith(_END):
        raise BackupDamagedError(f"{path} is damaged: {_NO_END}")
    try:
        fields: dict[str, Any] = orjson.loads(tail[place + 1 :])
        form_version, digest = fields[_FORM], fields.pop(_DIGEST)
        if form_version == _FORM_VERSION:
            backup = _backup(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise BackupDamagedError(f"{path} is damaged: its seal cannot be read") from error
    if form_version != _FORM_VERSION:
        raise BackupUnusableError(
            f"{path}: a newer version of the gateway made this backup (form {form_version}, known: {_FORM_VERSION}). "
            "Use that version"
        )
    if reason := too_new(backup.schema):
        raise BackupUnusableError(f"{path}: {reason}")
    if backup.size_bytes != size - len(tail) + place:
        raise BackupDamagedError(f"{path} is damaged: it has another size than its seal says")
    return backup, fields, digest


def _backup(fields: dict[str, Any]) -> Backup:
    """Return what the fields of a seal say.

    Raises:
        ValueError: No backup says that: anybody can write a seal with a digest that fits.
    """
    backup = TypeAdapter(Backup).validate_json(orjson.dumps(fields), strict=True)
    numbers = (backup.last, backup.events, backup.subscriptions, backup.schema - 1, backup.size_bytes)
    if min(numbers) < 0 or not 0 <= backup.time_ms <= _MAX_TIME_MS:
        raise ValueError("a number is out of range")
    return backup


def _unsealed(path: Path, file: BinaryIO) -> Exception:
    application_id = _application_id(file)
    if application_id == BACKUP_APPLICATION_ID:
        return BackupDamagedError(f"{path} is damaged: {_NO_END}")
    if application_id == APPLICATION_ID:
        return BackupUnusableError(
            f"{path} is an event log, not a backup of it. With the gateway stopped, it can be put at event_log.path; "
            "then run d1-gateway log new-epoch"
        )
    return BackupUnusableError(f"{path} is no backup that d1-gateway log backup has made")


def _application_id(file: BinaryIO) -> int:
    """Return what a SQLite file says that it is; 0 if it is another file."""
    file.seek(0)
    header = file.read(_APPLICATION_ID_AT + 4)
    return int.from_bytes(header[_APPLICATION_ID_AT:], "big") if header.startswith(_SQLITE) else 0


def _digest(
    file: BinaryIO, size: int, fields: dict[str, Any], report: ReportProgress, sink: Callable[[bytes], object]
) -> str:
    """Return the digest of the first bytes of a file and of the seal's fields."""
    digest, done = hashlib.sha256(), 0
    file.seek(0)
    while done < size and (piece := _piece(file, min(_CHUNK_BYTES, size - done))):
        digest.update(piece)
        sink(piece)
        done += len(piece)
        report(done, size)
    digest.update(orjson.dumps(fields))
    return digest.hexdigest()


def _piece(file: BinaryIO, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise BackupDamagedError(f"{file.name} cannot be read to its end: {error.strerror}") from error


def _unreadable(path: Path, error: OSError) -> BackupUnusableError:
    return BackupUnusableError(f"{path} cannot be read: {error.strerror or error}")
