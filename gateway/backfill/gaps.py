"""Finds the times of which notifications may be missing, while this gateway leads.

The leader notes every few seconds that notifications are taken. What stops that is a gap, whatever it is: all gateways
are down, the storage is, or the process is suspended.
"""

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final

import structlog

from gateway.backfill.records import Alive, Gap, Records
from gateway.backfill.state import Cause
from gateway.ports import EventDamagedError, EventLog
from gateway.settings import BackfillSettings

__all__ = ["Gaps", "note_skipped"]

_MAX_DAMAGED: Final = 100
"""Damaged notifications in a row to look behind for the time of an intact one."""

_log = structlog.get_logger(__name__)


class Gaps:
    """The search for gaps."""

    def __init__(
        self,
        log: EventLog,
        records: Records,
        issuer_ids: Collection[str],
        settings: BackfillSettings,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        """Prepare.

        Args:
            log: The event log.
            records: Where gaps are noted.
            issuer_ids: The issuers; each gets a gap of its own.
            settings: The settings.
            now_ms: The wall clock, in milliseconds since 1970 (UTC).
        """
        self._log = log
        self._records = records
        self._issuer_ids = issuer_ids
        self._outage_ms = round(settings.outage_seconds * 1000)
        self._sweep_ms = round(settings.sweep_seconds * 1000)
        self._active_card_ms = round(settings.active_card_seconds * 1000)
        self._now_ms = now_ms
        self._started_ms = now_ms()

    async def look(self) -> bool:
        """Note the gaps until now, and then that notifications are taken. Returns whether there are new gaps.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE or STORE_UNAVAILABLE. The next call finds the gap.
        """
        # Before the rest: the identity is that of the log as it is now.
        await self._log.bounds()
        log_id, now_ms = self._log.log_id, self._now_ms()
        gaps = [await self._outage(log_id, now_ms), await self._sweep(now_ms)]
        found = [gap for gap in gaps if gap is not None]
        for gap in found:
            await _note(self._records, self._issuer_ids, gap)
        await self._records.put_alive(Alive(now_ms, log_id))
        if self._sweep_ms and gaps[1] is not None:
            await self._records.put_swept(now_ms)
        return bool(found)

    async def _outage(self, log_id: str, now_ms: int) -> Gap | None:
        alive = await self._records.alive()
        if alive is None:
            # An upgrade, or a log that was copied or restored; a new one has nothing before.
            newest_ms = await self._time_before(self._started_ms)
            if newest_ms is None or now_ms - newest_ms <= self._outage_ms:
                return None
            return Gap(newest_ms, now_ms, Cause.OUTAGE)
        if alive.log_id != log_id:
            # What was appended since the loss is no sign of what was before.
            kept_ms = await self._time_before(alive.time_ms - self._outage_ms)
            since_ms = now_ms - self._active_card_ms if kept_ms is None else kept_ms
            return Gap(min(since_ms, alive.time_ms), now_ms, Cause.LOG_LOSS)
        if now_ms - alive.time_ms > self._outage_ms:
            return Gap(alive.time_ms, now_ms, Cause.OUTAGE)
        return None

    async def _sweep(self, now_ms: int) -> Gap | None:
        if not self._sweep_ms:
            return None
        swept_ms = await self._records.swept_ms()
        if swept_ms is None:
            await self._records.put_swept(now_ms)
            return None
        return Gap(swept_ms, now_ms, Cause.SWEEP) if now_ms - swept_ms >= self._sweep_ms else None

    async def _time_before(self, time_ms: int) -> int | None:
        """Return when the last notification before a time was received; None if the log has none."""
        return await _time_through(self._log, await self._log.sequence_before(time_ms))


async def note_skipped(log: EventLog, records: Records, issuer_ids: Collection[str], sequence: int) -> None:
    """Note the gap that a damaged notification leaves: the time between its neighbours.

    Raises:
        GatewayError: EVENT_LOG_UNAVAILABLE or STORE_UNAVAILABLE.
    """
    since_ms = await _time_through(log, sequence - 1)
    until_ms = await _time_after(log, sequence)
    await _note(records, issuer_ids, Gap(since_ms or 0, until_ms or since_ms or 0, Cause.SKIPPED))


async def _note(records: Records, issuer_ids: Collection[str], gap: Gap) -> None:
    for issuer_id in issuer_ids:
        await records.add_gap(issuer_id, gap)
    _log.warning("backfill_gap_found", cause=gap.cause, since=_text(gap.since_ms), until=_text(gap.until_ms))


async def _time_through(log: EventLog, sequence: int) -> int | None:
    """Return when the last intact notification up to a sequence was received; None if there is none."""
    trimmed_through = (await log.bounds()).trimmed_through
    for last in range(sequence, max(trimmed_through, sequence - _MAX_DAMAGED), -1):
        try:
            read = await log.read(last - 1, 1)
        except EventDamagedError:
            continue
        # There may be gaps between sequences.
        if read.events and read.events[0].sequence <= sequence:
            return read.events[0].event.receive_time_ms
    return None


async def _time_after(log: EventLog, sequence: int) -> int | None:
    for after in range(sequence, sequence + _MAX_DAMAGED):
        try:
            read = await log.read(after, 1)
        except EventDamagedError:
            continue
        return read.events[0].event.receive_time_ms if read.events else None
    return None


def _text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
