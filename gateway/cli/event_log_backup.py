"""Backs up and restores the event log; reports progress and result."""

import time
from collections.abc import Iterator
from pathlib import Path

from gateway.bootstrap import event_log_backup as backups
from gateway.bootstrap import logging as logs
from gateway.bootstrap.storage import key_file_of
from gateway.cli.event_log_copy import report_shortcomings
from gateway.cli.output import report, say, utc
from gateway.cli.progress import MEBIBYTE, Display, display, mebibytes
from gateway.ports import Backup, Engine
from gateway.settings import Settings

__all__ = ["back_up_log", "describe", "restore_log"]


def back_up_log(settings: Settings, file: Path, *, overwrites: bool) -> None:
    """Back up the log, and say what is in the backup.

    Raises:
        SettingsError: The log cannot be opened.
        BackupUnusableError: The backup cannot be written there.
        BackupFailedError: It failed midway.
        GatewayError: An engine failed midway.
    """
    logs.configure("critical")
    began = time.monotonic()
    with _shown(settings, "backing up") as shown:
        done = backups.back_up(settings, file, overwrites=overwrites, report=shown.show)
    if done.copied is not None and done.copied.damaged:
        report_shortcomings(done.copied)
    backup = done.backup
    say(
        f"backed up {backup.events} notifications and {backup.subscriptions} subscriptions: {file}, "
        f"{backup.size_bytes / MEBIBYTE:.1f} MiB, {time.monotonic() - began:.1f} s"
    )
    for line in describe(backup):
        say(line)
    if backup.key_id:
        say(f"the key file is not in it: keep a copy of {key_file_of(settings)}, at another place")


def restore_log(settings: Settings, file: Path, *, keeps_epoch: bool) -> None:
    """Restore the log, and say what that means for those who use it.

    Raises:
        SettingsError: A gateway runs, or the engine cannot be opened.
        BackupUnusableError: The file cannot be restored.
        BackupDamagedError: It is not as it was written.
        BackupFailedError: The disk is full, or fails.
        GatewayError: NATS failed midway.
    """
    logs.configure("critical")
    with _shown(settings, "restoring") as shown:
        done = backups.restore(settings, file, keeps_epoch=keeps_epoch, report=shown.show)
    backup = done.backup
    if done.copied is not None:
        report_shortcomings(done.copied)
    say(f"restored {backup.events} notifications and {backup.subscriptions} subscriptions of {_made(backup)}")
    if done.log_id == backup.log_id:
        say(f"the epoch is still {done.log_id}: cursors stay valid")
    else:
        say(
            f"the new epoch is {done.log_id}: cursors that clients keep are refused (CURSOR_UNKNOWN), named "
            "subscriptions go on where the backup has them"
        )
    if done.aside is not None:
        more = f", and has up to {done.lost} later notifications" if done.lost else ""
        say(f"the former event log is {done.aside}{more}")
    if (problem := backups.missing_key(settings, backup)) is not None:
        report(
            f"the idempotency records were made under the key {backup.key_id}, but {problem}: put that key file back "
            "before the gateway starts"
        )


def describe(backup: Backup) -> Iterator[str]:
    """Yield what a backup is, in lines."""
    yield f"epoch {backup.log_id}, last cursor {backup.log_id}-{backup.last}, {_made(backup)}, schema {backup.schema}"
    if backup.engine is Engine.NATS:
        yield "idempotency records and results of authentications are not in it: NATS has them"
    elif backup.key_id:
        yield f"idempotency records are in it, encrypted under the key {backup.key_id}"


def _made(backup: Backup) -> str:
    return f"{utc(backup.time_ms)}, made by version {backup.version}"


def _shown(settings: Settings, what: str) -> Display:
    return mebibytes(what) if settings.nats is None else display(what)
