"""Backs up, restores and checks the event log, whichever engine has it; blocks.

A backup is a file of the embedded engine. Of its own log it has everything. Of NATS, which has no way to copy several
streams at one moment, it has the notifications and the committed cursors: `gateway.notifications.copy` makes it.
"""

import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import uvloop

from adapters import sqlite
from gateway.aio.clock import wall_clock_ms
from gateway.backfill.records import Gap, Records, copy_records
from gateway.backfill.state import Cause
from gateway.bootstrap.event_log_copy import opened_alone
from gateway.bootstrap.storage import key_file_of
from gateway.idempotency import key_file
from gateway.idempotency.encryption import RecordCipher
from gateway.idempotency.key_check import KEY_ID_ENTRY
from gateway.notifications.copy import Copied, EventLogCopy
from gateway.ports import Backup, BackupFailedError, BackupUnusableError, Damage, Engine, ReportProgress, Storage
from gateway.settings import Settings, SettingsError
from gateway.version import VERSION

__all__ = [
    "BackedUp",
    "Restored",
    "back_up",
    "find_damage",
    "find_damage_in_backup",
    "missing_key",
    "restore",
    "verify_backup",
]

_UNPACKED: Final = "events.db"
_RESTORED_ENTRY: Final = "log-restore"
_RESTORED_SECONDS: Final = 7 * 86_400.0
"""How long an interrupted restore into NATS can go on."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A backup that was made."""

    backup: Backup
    copied: Copied | None
    """What the copy out of NATS says; None for the embedded engine."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A log that was restored."""

    backup: Backup
    log_id: str
    """Its epoch."""
    aside: Path | None = None
    """The file of the former log."""
    lost: int | None = None
    """At most so many notifications the former log had after the backup; None if nobody knows."""
    copied: Copied | None = None
    """What the copy into NATS says; None for the embedded engine."""


def back_up(settings: Settings, file: Path, *, overwrites: bool, report: ReportProgress) -> BackedUp:
    """Back up the log, which gateways may use.

    Args:
        settings: All settings.
        file: The backup to make.
        overwrites: Whether it may replace a file.
        report: Called with what is done, and all: bytes, of NATS notifications.

    Raises:
        SettingsError: The log cannot be opened.
        BackupUnusableError: The backup cannot be written there.
        BackupFailedError: It failed midway; nothing is left of it.
        GatewayError: An engine failed midway.
    """
    try:
        if settings.nats is not None:
            return uvloop.run(_copy_out(settings, file, overwrites=overwrites, report=report))
        backup = sqlite.back_up(
            settings.event_log.path.resolve(),
            file,
            version=VERSION,
            key_entry=KEY_ID_ENTRY,
            overwrites=overwrites,
            report=report,
        )
    except sqlite.EventLogOpenError as error:
        raise SettingsError([f"event_log.path: {error}"]) from error
    return BackedUp(backup, None)


def restore(settings: Settings, file: Path, *, keeps_epoch: bool, report: ReportProgress) -> Restored:
    """Restore the log from a backup, of either engine. No gateway may run.

    Args:
        settings: All settings.
        file: The backup.
        keeps_epoch: Whether cursors stay valid; of the embedded engine alone.
        report: As for `back_up`.

    Raises:
        SettingsError: A gateway runs, or the engine cannot be opened.
        BackupUnusableError: The file is no backup that can be restored; or the log cannot be replaced.
        BackupDamagedError: The backup is not as it was written.
        BackupFailedError: The disk is full, or fails.
        GatewayError: NATS failed midway; the next run resumes.
    """
    if settings.nats is not None:
        return uvloop.run(_copy_in(settings, file, report))
    try:
        done = sqlite.restore(file, settings.event_log.path, keeps_epoch=keeps_epoch, report=report)
    except sqlite.EventLogOpenError as error:
        raise SettingsError([f"event_log.path: {error}"]) from error
    if keeps_epoch and settings.backfill.enabled:
        # A new epoch says it by itself.
        uvloop.run(_note_loss(settings, done.backup.time_ms))
    return Restored(done.backup, done.log_id, done.aside, done.lost)


def verify_backup(file: Path, report: ReportProgress) -> Backup:
    """Compare a backup with its digest. Returns what it is.

    Args:
        file: The backup.
        report: Called with the bytes that were compared, and all.

    Raises:
        BackupUnusableError: See `restore`.
        BackupDamagedError: See `restore`.
    """
    try:
        return sqlite.verify_backup(file, report)
    except OSError as error:
        raise BackupUnusableError(f"{file} cannot be read: {error.strerror or error}") from error


def find_damage_in_backup(file: Path, backup: Backup, report: ReportProgress) -> Damage:
    """Read everything in a backup, and return what is damaged.

    Args:
        file: The backup.
        backup: What it is.
        report: As for `find_damage`.

    Raises:
        BackupUnusableError: It cannot be read.
    """
    if not sqlite.is_current_backup(backup):
        return Damage((), (), ())  # An older schema, whose notifications may have no checksums.
    try:
        return sqlite.damage_of(file, report, is_backup=True)
    except sqlite.EventLogOpenError as error:
        raise BackupUnusableError(str(error)) from error


def find_damage(settings: Settings, report: ReportProgress) -> Damage:
    """Read everything in the log, and return what is damaged. Gateways may run.

    Args:
        settings: All settings.
        report: Called with the sequences read, and those to read.

    Raises:
        SettingsError: The log does not exist, or cannot be opened.
        GatewayError: The engine failed midway.
    """
    path = settings.event_log.path.resolve()
    try:
        if settings.nats is None and sqlite.is_current(path):
            return sqlite.damage_of(path, report)
    except sqlite.EventLogOpenError as error:
        raise SettingsError([f"event_log.path: {error}"]) from error
    return uvloop.run(_find_damage(settings, report))


def missing_key(settings: Settings, backup: Backup) -> str | None:
    """Return why the key file does not fit the records of a restored backup; None if it does, or need not."""
    if not backup.key_id:
        return None
    file = key_file_of(settings)
    if not file.exists():
        return f"{file} is missing"
    try:
        key_id = RecordCipher(key_file.load(file)).key_id
    except SettingsError as error:
        return "; ".join(error.mistakes)
    return None if key_id == backup.key_id else f"{file} holds the key {key_id}"


async def _find_damage(settings: Settings, report: ReportProgress) -> Damage:
    async with opened_alone(settings) as storage:
        return await storage.find_damage(report)


async def _copy_out(settings: Settings, file: Path, *, overwrites: bool, report: ReportProgress) -> BackedUp:
    with sqlite.unfinished(file, overwrites=overwrites) as made:
        async with opened_alone(settings) as source:
            time_ms, log_id, bounds = wall_clock_ms(), source.log.log_id, await source.log.bounds()
            target = await sqlite.SqliteStorage.open(made.path)
            try:
                copied = await _copy(settings, source, target, report)
            finally:
                await target.close()
        with sqlite.looking_at(made.path) as connection:
            of_copy = sqlite.describe(connection, Engine.NATS, version=VERSION, time_ms=time_ms, key_entry=KEY_ID_ENTRY)
        backup = replace(of_copy, log_id=log_id, last=bounds.last)
        made.finish(backup, lambda _, __: None)
    return BackedUp(backup, copied)


async def _copy_in(settings: Settings, file: Path, report: ReportProgress) -> Restored:
    with ExitStack() as unpacking:
        try:
            folder = unpacking.enter_context(TemporaryDirectory(prefix="d1-gateway-restore-"))
            unpacked = Path(folder, _UNPACKED)
            backup, _ = sqlite.extract(file, unpacked, keeps_epoch=True, report=lambda _, __: None)
            source = await sqlite.SqliteStorage.open(unpacked)
        except (OSError, sqlite3.Error, sqlite.EventLogOpenError) as error:
            raise BackupFailedError(
                f"{file} was not restored, and nothing was changed: it cannot be unpacked: {error}. TMPDIR names "
                "another place"
            ) from error
        try:
            async with opened_alone(settings, creates=True) as target:
                await _claim(target, source.log.log_id)
                copied = await _copy(settings, source, target, report)
                return Restored(backup, target.log.log_id, copied=copied)
        finally:
            await source.close()


async def _claim(target: Storage, log_id: str) -> None:
    """Note in an empty log which one is restored into it, so that only that restore goes on after an interruption."""
    store = target.key_value_store
    if (await target.log.bounds()).last == 0:
        await store.put(_RESTORED_ENTRY, log_id.encode(), _RESTORED_SECONDS)
    elif await store.get(_RESTORED_ENTRY) != log_id.encode():
        raise BackupUnusableError(
            "there is an event log at NATS, which a restore does not replace: set nats.prefix to another name; its "
            "streams stay as they are"
        )


async def _copy(settings: Settings, source: Storage, target: Storage, report: ReportProgress) -> Copied:
    copied = await EventLogCopy(source, target, report=lambda each: report(each.seen, each.expected)).run()
    seconds = settings.backfill.active_card_seconds
    await copy_records(source.key_value_store, target.key_value_store, active_card_seconds=seconds)
    return copied


async def _note_loss(settings: Settings, time_ms: int) -> None:
    """Have fetched what the log got after the backup was made."""
    async with opened_alone(settings) as storage:
        records, gap = Records(storage.key_value_store), Gap(time_ms, wall_clock_ms(), Cause.LOG_LOSS)
        for issuer_id in settings.issuers:
            await records.add_gap(issuer_id, gap)
