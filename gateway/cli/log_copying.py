"""Copies the event log, and tells how it goes and what came of it."""

import time

import typer
import uvloop

from gateway.bootstrap import logging as logs
from gateway.bootstrap.event_log_copy import oldest_kept_ms, opened
from gateway.cli.event_log import tell
from gateway.cli.progress import Display, display
from gateway.notifications.copy import Copied, LogCopy
from gateway.ports import Engine
from gateway.settings import Settings

__all__ = ["copy_log"]


def copy_log(settings: Settings, source: Engine, target: Engine) -> None:
    """Copy what the source has and the target has not.

    Raises:
        SettingsError: An engine is not configured, or cannot be opened.
        GatewayError: An engine failed midway.
    """
    logs.configure("error")
    with display() as shown:
        copied, seconds = uvloop.run(_copy(settings, source, target, shown))
    _tell_shortcomings(copied)
    typer.echo(_summary(copied, seconds))


async def _copy(settings: Settings, source: Engine, target: Engine, shown: Display) -> tuple[Copied, float]:
    async with opened(settings, source, target) as (first, second):
        began = time.monotonic()
        keep_from_ms = oldest_kept_ms(settings, target, time.time_ns() // 1_000_000)
        copied = await LogCopy(first, second, keep_from_ms=keep_from_ms, tell=shown.show).run()
        return copied, time.monotonic() - began


def _tell_shortcomings(copied: Copied) -> None:
    if copied.behind:
        names = ", ".join(f"{each.name} of {each.issuer_id}" for each in copied.behind)
        tell(f"not all that these subscriptions have not committed is still kept: {names}")
    if not copied.is_exact:
        tell("the target holds notifications of its own among these: watchers may be given some again")
    if copied.newer:
        tell(f"{copied.newer} notifications came meanwhile: run it again once nobody takes any there")


def _summary(copied: Copied, seconds: float) -> str:
    progress = copied.progress
    too_old = f", {progress.too_old} were too old to be kept" if progress.too_old else ""
    return (
        f"copied {progress.copied} notifications, {progress.earlier + progress.present} were there already{too_old}; "
        f"{copied.subscriptions} subscriptions; {seconds:.1f} s, {progress.seen / seconds:.0f} notifications/s"
    )
