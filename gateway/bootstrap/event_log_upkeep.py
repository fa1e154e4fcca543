"""Tells what is in the event log, trims it, and gives it a new epoch; blocks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvloop

from adapters import sqlite
from gateway.bootstrap.event_log_copy import opened_alone
from gateway.notifications.cursor import parse
from gateway.ports import EventDamagedError, EventLog, ReportProgress, Statistics, Storage, StoredSubscription
from gateway.settings import Settings, SettingsError

__all__ = ["Trim", "renew_epoch", "statistics", "trim"]


@dataclass(frozen=True, slots=True)
class Trim:
    """What is, or would be, removed from a log."""

    log_id: str
    """The log's epoch."""
    through: int
    """The last sequence to remove."""
    count: int
    """The number of notifications, at most."""
    needed_by: Sequence[StoredSubscription]
    """The subscriptions that have not committed all of them."""
    is_done: bool
    """Whether they are removed."""


def statistics(settings: Settings) -> Statistics:
    """Return what is in the log. Gateways may run.

    Raises:
        SettingsError: The log does not exist, or cannot be opened.
        GatewayError: The engine failed.
    """
    if settings.nats is not None:
        return uvloop.run(_of_shared(settings))
    try:
        return sqlite.read_statistics(settings.event_log.path.resolve())
    except sqlite.EventLogOpenError as error:
        raise SettingsError([f"event_log.path: {error}"]) from error


def renew_epoch(settings: Settings) -> tuple[str, str]:
    """Give the log a new epoch. Returns the former one, and the new one. With NATS, gateways may run.

    Raises:
        SettingsError: The log does not exist, or cannot be opened.
        GatewayError: The engine failed.
    """

    async def run() -> tuple[str, str]:
        async with opened_alone(settings) as storage:
            return storage.log.log_id, await storage.renew_epoch()

    return uvloop.run(run())


def trim(
    settings: Settings,
    *,
    before_ms: int | None,
    through: str | None,
    decide: Callable[[Trim], bool],
    report: ReportProgress,
) -> Trim:
    """Remove the oldest notifications. With NATS, gateways may run.

    Args:
        settings: All settings.
        before_ms: Remove what was received before, in milliseconds since 1970 (UTC).
        through: Otherwise, remove what is up to this cursor.
        decide: Returns whether it is to be done.
        report: Called with the notifications removed, and those to remove.

    Raises:
        SettingsError: The log does not exist, or cannot be opened.
        GatewayError: The cursor is not of this log, or the engine failed.
    """

    async def run() -> Trim:
        async with opened_alone(settings) as storage:
            planned = await _plan(storage, before_ms, through)
            if not planned.count or not decide(planned):
                return planned
            await storage.trim_through(planned.through, report)
            return Trim(planned.log_id, planned.through, planned.count, planned.needed_by, is_done=True)

    return uvloop.run(run())


async def _plan(storage: Storage, before_ms: int | None, through: str | None) -> Trim:
    log, bounds = storage.log, await storage.log.bounds()
    end = parse(through, log.log_id, bounds) if through else await log.sequence_before(before_ms or 0)
    return Trim(
        log_id=log.log_id,
        through=end,
        count=max(0, end - bounds.trimmed_through),
        needed_by=[each for each in await log.list_subscriptions() if each.committed < end],
        is_done=False,
    )


async def _of_shared(settings: Settings) -> Statistics:
    async with opened_alone(settings) as storage:
        log, bounds = storage.log, await storage.log.bounds()
        return Statistics(
            log_id=log.log_id,
            schema=None,
            bounds=bounds,
            # A stream has no gaps.
            events=bounds.last - bounds.trimmed_through,
            size_bytes=storage.size_bytes(),
            oldest_ms=await _time_ms(log, bounds.trimmed_through),
            newest_ms=await _time_ms(log, bounds.last - 1) if bounds.last > bounds.trimmed_through else None,
            subscriptions=await log.list_subscriptions(),
            damaged_subscriptions=0,
        )


async def _time_ms(log: EventLog, after: int) -> int | None:
    try:
        read = await log.read(after, 1)
    except EventDamagedError:
        return None
    return read.events[0].event.receive_time_ms if read.events else None
