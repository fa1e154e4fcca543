"""Copies the event log; reports progress and result."""

import time

import typer
import uvloop

from gateway.backfill.records import copy_records
from gateway.bootstrap import logging as logs
from gateway.bootstrap.event_log_copy import oldest_kept_ms, opened
from gateway.cli.output import report
from gateway.cli.progress import Display, display
from gateway.notifications.copy import Copied, EventLogCopy
from gateway.ports import Engine
from gateway.settings import Settings

__all__ = ["copy_log", "report_shortcomings"]


def copy_log(settings: Settings, source: Engine, target: Engine) -> None:
    """Copy what the target does not have yet.

    Raises:
        SettingsError: An engine is not configured, or cannot be opened.
        GatewayError: An engine failed midway.
    """
    logs.configure("error")
    with display("copying") as progress_display:
        copied, seconds = uvloop.run(_copy(settings, source, target, progress_display))
    report_shortcomings(copied)
    typer.echo(_summary(copied, seconds))


async def _copy(settings: Settings, source: Engine, target: Engine, progress_display: Display) -> tuple[Copied, float]:
    async with opened(settings, source, target) as (first, second):
        started = time.monotonic()
        keep_from_ms = oldest_kept_ms(settings, target, time.time_ns() // 1_000_000)
        copied = await EventLogCopy(
            first,
            second,
            keep_from_ms=keep_from_ms,
            report=lambda each: progress_display.show(each.seen, each.expected),
        ).run()
        await copy_records(
            first.key_value_store,
            second.key_value_store,
            active_card_seconds=settings.backfill.active_card_seconds,
        )
        return copied, time.monotonic() - started


def report_shortcomings(copied: Copied) -> None:
    """Write to standard error what a copy could not do."""
    if copied.behind:
        names = ", ".join(f"{each.name} of {each.issuer_id}" for each in copied.behind)
        report(f"retention has removed notifications that these subscriptions have not committed: {names}")
    if copied.damaged:
        sequences = ", ".join(map(str, copied.damaged))
        report(f"these notifications are damaged, and were left out; nobody else is told: {sequences}")
    if not copied.is_exact:
        report("the target holds other notifications among these: watchers may receive some again")
    if copied.newer:
        report(f"{copied.newer} notifications arrived meanwhile: run it again once the source receives no more")


def _summary(copied: Copied, seconds: float) -> str:
    progress = copied.progress
    too_old = f", {progress.too_old} were too old to keep" if progress.too_old else ""
    return (
        f"copied {progress.copied} notifications, {progress.earlier + progress.present} already present{too_old}; "
        f"{copied.subscriptions} subscriptions; {seconds:.1f} s, {progress.seen / seconds:.0f} notifications/s"
    )
