"""Checks the event log, and skips what is damaged."""

import typer
import uvloop

from gateway.bootstrap import logging as logs
from gateway.bootstrap.event_log_copy import opened_alone
from gateway.ports import Damage
from gateway.settings import Settings

__all__ = ["check_log", "skip_event"]


def check_log(settings: Settings) -> bool:
    """List what is damaged. Returns whether nothing is but what was skipped.

    Raises:
        SettingsError: The engine cannot be opened.
        GatewayError: The engine failed midway.
    """
    logs.configure("critical")
    damage = uvloop.run(_find_damage(settings))
    for sequence in damage.events:
        typer.echo(f"notification {sequence} is damaged")
    for sequence in damage.skipped:
        typer.echo(f"notification {sequence} is damaged, and skipped")
    for other in damage.others:
        typer.echo(f"damaged: {other}")
    if damage.events or damage.others:
        return False
    typer.echo("nothing else is damaged" if damage.skipped else "nothing is damaged")
    return True


def skip_event(settings: Settings, sequence: int) -> bool:
    """Let watchers go on without a damaged notification. Returns whether it is damaged.

    Raises:
        SettingsError: The engine cannot be opened.
        GatewayError: The engine failed.
    """
    logs.configure("critical")
    return uvloop.run(_skip(settings, sequence))


async def _find_damage(settings: Settings) -> Damage:
    async with opened_alone(settings) as storage:
        return await storage.find_damage()


async def _skip(settings: Settings, sequence: int) -> bool:
    async with opened_alone(settings) as storage:
        return await storage.log.skip(sequence)
