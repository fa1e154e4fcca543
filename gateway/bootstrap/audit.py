"""Opens the audit trail that the settings name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.audit.folder import Place, check_folder
from gateway.audit.ids import IdWriter
from gateway.audit.recorder import Recorder
from gateway.audit.seal import Seal
from gateway.audit.trail import Trail
from gateway.settings import AuditSettings, SettingsError, read_audit_key

__all__ = ["Audit", "check_audit", "opened_audit"]


@dataclass(frozen=True, slots=True)
class Audit:
    """A trail, and what writes to it."""

    trail: Trail
    recorder: Recorder
    refuses_changes: bool

    def failure(self) -> str:
        """Return why the trail cannot be written; empty while it can."""
        return self.trail.failure


def check_audit(settings: AuditSettings | None) -> None:
    """Check the folder of the trail and its key.

    Raises:
        SettingsError: They cannot be used.
    """
    if settings is None:
        return
    # A start makes the folder, a check leaves everything as it is.
    folder = settings.folder if settings.folder.exists() else settings.folder.parent
    try:
        check_folder(folder)
    except OSError as error:
        raise SettingsError([f"audit.folder: {folder} cannot be used: {error.strerror}"]) from error
    except ValueError as error:
        raise SettingsError([f"audit.folder: {error}"]) from error
    _key(settings)


@asynccontextmanager
async def opened_audit(settings: AuditSettings | None) -> AsyncIterator[Audit | None]:
    """Provide the trail for as long as the context lasts; None without settings.

    Raises:
        SettingsError: It cannot be opened. A disk that is full is no reason: the trail is unavailable then.
    """
    if settings is None:
        yield None
        return
    await asyncio.to_thread(check_audit, settings)
    key = _key(settings)
    try:
        settings.folder.mkdir(mode=0o700, exist_ok=True)
        # A process that cannot continue its trail ends, and the lock with it.
        trail = Trail(Place(settings.folder), Seal(key), max_file_bytes=settings.max_file_bytes)
    except OSError as error:
        raise SettingsError([f"audit.folder: {settings.folder} cannot be used: {error.strerror}"]) from error
    refuses_changes = settings.if_unavailable == "refuse_changes"
    recorder = Recorder(trail, IdWriter(settings.ids, key), refuses_changes=refuses_changes)
    await trail.start()
    try:
        yield Audit(trail, recorder, refuses_changes)
    finally:
        recorder.flush()
        await trail.close()


def _key(settings: AuditSettings) -> bytes | None:
    if settings.key_file is None:
        return None
    try:
        return read_audit_key(settings.key_file)
    except ValueError as error:
        raise SettingsError([f"audit.key_file: {error}"]) from error
