"""Checks the event log or a backup of it, and skips what is damaged."""

from pathlib import Path

import uvloop

from gateway.backfill.gaps import note_skipped
from gateway.backfill.records import Records
from gateway.bootstrap import event_log_backup as backups
from gateway.bootstrap import logging as logs
from gateway.bootstrap.event_log_copy import opened_alone
from gateway.cli.event_log_backup import describe
from gateway.cli.output import say
from gateway.cli.progress import display, mebibytes
from gateway.ports import Damage
from gateway.settings import Settings

__all__ = ["check_file", "check_log", "skip_event"]


def check_log(settings: Settings) -> bool:
    """List what is damaged. Returns whether nothing is but what was skipped.

    Raises:
        SettingsError: The engine cannot be opened.
        GatewayError: The engine failed midway.
    """
    logs.configure("critical")
    with display("checking") as shown:
        damage = backups.find_damage(settings, shown.show)
    return _is_intact(damage)


def check_file(file: Path) -> bool:
    """List what is damaged in a backup. Returns whether nothing is but what was skipped.

    Raises:
        BackupUnusableError: It is no backup.
        BackupDamagedError: It is not as it was written.
    """
    with mebibytes("comparing") as shown:
        backup = backups.verify_backup(file, shown.show)
    with display("checking") as shown:
        damage = backups.find_damage_in_backup(file, backup, shown.show)
    for line in describe(backup):
        say(line)
    return _is_intact(damage)


def skip_event(settings: Settings, sequence: int) -> bool:
    """Let watchers go on without a damaged notification, and have it fetched. Returns whether it is damaged.

    Raises:
        SettingsError: The engine cannot be opened.
        GatewayError: The engine failed.
    """
    logs.configure("critical")
    return uvloop.run(_skip(settings, sequence))


def _is_intact(damage: Damage) -> bool:
    for sequence in damage.events:
        say(f"notification {sequence} is damaged")
    for sequence in damage.skipped:
        say(f"notification {sequence} is damaged, and skipped")
    for other in damage.others:
        say(f"damaged: {other}")
    if damage.events or damage.others:
        return False
    say("nothing else is damaged" if damage.skipped else "nothing is damaged")
    return True


async def _skip(settings: Settings, sequence: int) -> bool:
    async with opened_alone(settings) as storage:
        if not await storage.log.skip(sequence):
            return False
        if settings.backfill.enabled:
            # If this fails, the command does, and can be repeated.
            await note_skipped(storage.log, Records(storage.key_value_store), tuple(settings.issuers), sequence)
        return True
