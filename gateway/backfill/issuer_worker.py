"""The automatic backfill of one issuer: its refused cards first, then a run through its active cards for its gaps."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

import structlog

from gateway.aio.windows import in_order
from gateway.backfill.active_cards import ActiveCards
from gateway.backfill.backfill import Backfill, CardResult
from gateway.backfill.budget import Pause
from gateway.backfill.records import Gap, Progress, Records, Refused, Stored
from gateway.backfill.state import BackfillPhase, IssuerBackfill, IssuerPause
from gateway.errors import GatewayError, Reason
from gateway.logging import correlation
from gateway.logging.throttled import ThrottledLog
from gateway.ports import Lease
from issuer.common.v1 import error_pb2

_T = TypeVar("_T")

__all__ = ["IssuerWorker", "LeaseLostError", "Tools"]

_MARGIN_MS: Final = 3_600_000
"""How much earlier than a gap the cards are read. An operation has the time of its start, and is notified at its end,
after a challenge; beside that, the platform has its own clock and order, and repeats notifications for a time."""
_STORE_SECONDS: Final = 5.0
"""Interval at which the progress of a run is stored."""
_CLOSE_SECONDS: Final = 1.0
_MAX_ATTEMPTS: Final = 16
"""Attempts at a card whose history cannot be read: with a pause of a minute before the second, 19 hours."""
_MAX_DOUBLINGS: Final = 7
"""How often the pause between them doubles."""
_MAX_FAILED_IN_A_ROW: Final = 5
"""Cards in a row whose failures are taken for their own. The next one is the platform's: it costs a pause, too."""
_MAX_PAUSE_SECONDS: Final = 60.0
_FINAL: Final = frozenset(
    {
        error_pb2.ERROR_REASON_UPSTREAM_INVALID,
        error_pb2.ERROR_REASON_UPSTREAM_FORBIDDEN,
        error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND,
    }
)
"""Reasons that another attempt does not change. A response that cannot be read may be a proxy's page."""

_log = structlog.get_logger(__name__)


class LeaseLostError(Exception):
    """Another gateway may do the backfills now."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What the workers of all issuers share."""

    backfill: Backfill
    records: Records
    active_cards: ActiveCards
    lease: Lease
    interval_seconds: float
    """Interval between looks for work."""
    settle_seconds: float
    """Pause before the second attempt at a card."""
    now_ms: Callable[[], int]
    """The wall clock, in milliseconds since 1970 (UTC)."""


class IssuerWorker:
    """Reads the cards of an issuer, in order, as many at a time as the budget has calls in flight."""

    def __init__(self, issuer_id: str, tools: Tools, state: IssuerBackfill) -> None:
        """Prepare.

        Args:
            issuer_id: The issuer.
            tools: What all workers share.
            state: Shows what it does.
        """
        self._issuer_id = issuer_id
        self._tools = tools
        self._records = tools.records
        self._state = state
        self._may_have_work = asyncio.Event()
        self._next_look = 0.0
        self._due_ms: dict[str, int] = {}
        """The refused cards that wait, by key."""
        self._failures = ThrottledLog("backfill_card_failed")
        self._failed_in_a_row = 0

    def wake(self) -> None:
        """Look for work now."""
        self._next_look = 0.0
        self._may_have_work.set()

    async def run(self) -> None:
        """Work until it is cancelled.

        Raises:
            LeaseLostError: Another gateway may do it now.
        """
        while True:
            self._may_have_work.clear()
            await self._read_refused()
            await self._close_gaps()
            self._resume(BackfillPhase.IDLE)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._tools.interval_seconds):
                    await self._may_have_work.wait()

    # ---------------------------------------------------------------------------------------------- gaps

    async def _close_gaps(self) -> None:
        gaps = await self._patiently(lambda: self._records.gaps(self._issuer_id))
        self._state.pending_gaps = len(gaps)
        if not gaps:
            return
        self._resume(BackfillPhase.RUNNING)
        progress, run = await self._plan(gaps)
        cards = await self._patiently(lambda: self._tools.active_cards.of(self._issuer_id))
        done = cards.count_through(progress.after) if progress.after else 0
        progress = replace(progress, total=cards.total, done=done)
        self._begin(progress, run.values())
        since_ms, size = progress.since_ms, self._tools.backfill.budget(self._issuer_id).max_in_flight
        work = in_order(cards.after(progress.after), lambda card_id: self._read(card_id, since_ms), size)
        async with self._storing() as store, aclosing(work) as results:
            async for card_id, result in results:
                progress = replace(
                    progress,
                    after=card_id,
                    done=progress.done + 1,
                    recovered=progress.recovered + result.recovered_count,
                    failed=progress.failed + (result.error is not None),
                )
                if result.error is not None:
                    await self._postpone(card_id, Refused(since_ms, 0), result.error)
                self._show(progress)
                await self._patiently(partial(store.put, progress))
                await self._read_refused()
        for stored in run:
            await self._patiently(partial(self._records.delete, stored))
        self._end(progress, len(gaps) - len(run))

    async def _plan(self, gaps: dict[Stored, Gap]) -> tuple[Progress, dict[Stored, Gap]]:
        """Return where the run is, and the gaps that it closes: all there are, or those that it began with."""
        progress = await self._patiently(lambda: self._records.progress(self._issuer_id))
        if progress is not None:
            run = {stored: gap for stored, gap in gaps.items() if gap.name in progress.gaps}
            if run:
                return progress, run
        since_ms = min(gap.since_ms for gap in gaps.values()) - _MARGIN_MS
        progress = Progress([gap.name for gap in gaps.values()], max(0, since_ms))
        await self._patiently(lambda: self._records.put_progress(self._issuer_id, progress))
        return progress, gaps

    @asynccontextmanager
    async def _storing(self) -> "AsyncIterator[_Store]":
        store = _Store(self._records, self._issuer_id)
        try:
            yield store
        except asyncio.CancelledError:
            # During a drain the next leader goes on here. After a loss it has its own progress.
            if self._tools.lease.is_held():
                with suppress(GatewayError, TimeoutError):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await store.flush()
            raise

    def _begin(self, progress: Progress, gaps: Iterable[Gap]) -> None:
        # That of a card before is not the run's.
        correlation.use("")
        state = self._state
        state.causes = tuple(sorted({gap.cause for gap in gaps}))
        state.since_ms, state.started_ms = progress.since_ms, self._tools.now_ms()
        state.cards_done_before = progress.done
        self._show(progress)
        _log.info(
            "backfill_started",
            issuer_id=self._issuer_id,
            causes=[str(cause) for cause in state.causes],
            since=_text(progress.since_ms),
            cards=progress.total,
            done=progress.done,
        )

    def _show(self, progress: Progress) -> None:
        state = self._state
        state.cards_total, state.cards_done = progress.total, progress.done
        state.recovered_count, state.failed_count = progress.recovered, progress.failed

    def _end(self, progress: Progress, pending_gaps: int) -> None:
        _log.info(
            "backfill_completed",
            issuer_id=self._issuer_id,
            cards=progress.done,
            recovered=progress.recovered,
            failed=progress.failed,
            duration_ms=self._tools.now_ms() - self._state.started_ms,
        )
        state = self._state
        state.causes, state.since_ms, state.started_ms, state.pending_gaps = (), 0, 0, pending_gaps
        state.cards_total = state.cards_done = state.cards_done_before = 0
        state.recovered_count = state.failed_count = 0
        self.wake()

    # ------------------------------------------------------------------------------------- refused cards

    async def _read_refused(self) -> None:
        """Read the refused cards that are due, unless it was looked for some a moment ago."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._next_look:
            return
        keys = await self._patiently(lambda: self._records.refused_keys(self._issuer_id))
        self._due_ms = {key: self._due_ms.get(key, 0) for key in keys}
        self._state.pending_cards = len(keys)
        for key in keys:
            if self._due_ms[key] <= self._tools.now_ms():
                await self._read_if_due(key)
        self._next_look = loop.time() + self._tools.interval_seconds

    async def _read_if_due(self, key: str) -> None:
        found = await self._patiently(lambda: self._records.refused(key))
        if found is None:
            return
        stored, refused = found
        self._due_ms[key] = refused.due_ms
        if refused.due_ms > self._tools.now_ms():
            return
        self._resume(BackfillPhase.RUNNING)
        card_id = key.rpartition(".")[2]
        result = await self._read(card_id, refused.since_ms)
        if result.error is None or not await self._postpone(card_id, refused, result.error):
            await self._patiently(lambda: self._records.delete(stored))
            self._state.pending_cards -= 1

    async def _postpone(self, card_id: str, refused: Refused, error: GatewayError) -> bool:
        """Read a card again later if that can help. Returns whether it does."""
        attempts = refused.attempts + 1
        if error.reason in _FINAL:
            return False
        if attempts >= _MAX_ATTEMPTS:
            # Each of them, because somebody must order these cards.
            _log.warning(
                "backfill_card_given_up",
                issuer_id=self._issuer_id,
                card_id=card_id,
                since=_text(refused.since_ms),
                reason=error.reason_name,
            )
            return False
        pause_seconds = self._tools.settle_seconds * 2.0 ** min(attempts - 1, _MAX_DOUBLINGS)
        due_ms = self._tools.now_ms() + round(pause_seconds * 1000)
        later = replace(refused, due_ms=due_ms, attempts=attempts)
        await self._patiently(lambda: self._records.add_refused(self._issuer_id, card_id, later))
        return True

    # ---------------------------------------------------------------------------------------------- cards

    async def _read(self, card_id: str, since_ms: int) -> CardResult:
        if not self._tools.lease.is_held():
            raise LeaseLostError
        correlation.use(correlation.new())
        try:
            result = await self._tools.backfill.card(self._issuer_id, card_id, since_ms, self._pause)
        except Exception:  # noqa: BLE001 (a fault of ours, in one card: the others are read)
            _log.exception("backfill_failed", issuer_id=self._issuer_id, card_id=card_id)
            result = CardResult(0, 0, 0, 0, GatewayError(error_pb2.ERROR_REASON_INTERNAL, "Internal error."))
        else:
            if result.error is not None:
                self._failures.warning(
                    issuer_id=self._issuer_id,
                    card_id=card_id,
                    reason=result.error.reason_name,
                    message=result.error.message,
                )
        self._count_failures(result.error)
        self._resume(BackfillPhase.RUNNING)
        return result

    def _count_failures(self, error: GatewayError | None) -> None:
        """Pause if so many cards fail that it cannot be the cards."""
        failed = error is not None and error.reason not in _FINAL
        self._failed_in_a_row = self._failed_in_a_row + 1 if failed else 0
        excess = self._failed_in_a_row - _MAX_FAILED_IN_A_ROW
        if error is not None and excess > 0:
            pause = Pause(error.reason, min(_MAX_PAUSE_SECONDS, 2.0 ** min(excess, 10)))
            self._tools.backfill.budget(self._issuer_id).pause(pause)
            self._pause(pause)

    async def _patiently(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Do what needs the storage: without it nothing can be remembered, so nothing is done."""
        while True:
            try:
                return await attempt()
            except GatewayError as error:
                self._pause(Pause(error.reason, self._tools.interval_seconds))
                await asyncio.sleep(self._tools.interval_seconds)

    def _pause(self, pause: Pause) -> None:
        until_ms = self._tools.now_ms() + round(pause.seconds * 1000)
        if self._state.pause is None or self._state.pause.reason != pause.reason:
            _log.warning(
                "backfill_paused",
                issuer_id=self._issuer_id,
                reason=_name(pause.reason),
                seconds=round(pause.seconds, 1),
            )
        self._state.phase, self._state.pause = BackfillPhase.PAUSED, IssuerPause(pause.reason, until_ms)

    def _resume(self, phase: BackfillPhase) -> None:
        state, budget = self._state, self._tools.backfill.budget(self._issuer_id)
        if state.pause is not None:
            if phase is BackfillPhase.RUNNING and budget.current_pause is not None:
                return
            _log.info("backfill_resumed", issuer_id=self._issuer_id, reason=_name(state.pause.reason))
        state.phase, state.pause = phase, None


class _Store:
    """Stores the progress of a run now and then."""

    def __init__(self, records: Records, issuer_id: str) -> None:
        self._records = records
        self._issuer_id = issuer_id
        self._latest: Progress | None = None
        self._clock = asyncio.get_running_loop().time
        self._next_store = self._clock() + _STORE_SECONDS

    async def put(self, progress: Progress) -> None:
        """Store the progress if it is time."""
        self._latest = progress
        if self._clock() >= self._next_store:
            await self.flush()

    async def flush(self) -> None:
        """Store the latest progress."""
        if self._latest is not None:
            await self._records.put_progress(self._issuer_id, self._latest)
        self._next_store = self._clock() + _STORE_SECONDS


def _text(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


def _name(reason: Reason) -> str:
    return error_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
