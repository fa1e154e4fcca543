"""The automatic backfill. One gateway of a cluster, the leader, looks for gaps and closes them; the others stand by."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from gateway.backfill.active_cards import ActiveCards
from gateway.backfill.backfill import Backfill
from gateway.backfill.gaps import Gaps
from gateway.backfill.issuer_worker import IssuerWorker, LeaseLostError, Tools
from gateway.backfill.records import Records
from gateway.backfill.state import BackfillPhase, BackfillState, BackfillView, IssuerBackfill
from gateway.errors import GatewayError
from gateway.ports import EventLog, Lease, SubscriptionLeases
from gateway.settings import BackfillSettings

__all__ = ["AutomaticBackfill"]

_LEASE: Final = ("", "$backfill")
"""Issuer and name of the leader's lease. No issuer has this id, and no subscription this name."""
_MAX_INTERVAL_SECONDS: Final = 5.0
_STANDBY_SECONDS: Final = 30.0
"""Longest wait before the next attempt at the lease."""
_RETRY_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class AutomaticBackfill:
    """The automatic backfill at this gateway."""

    def __init__(
        self,
        backfill: Backfill,
        log: EventLog,
        records: Records,
        leases: SubscriptionLeases,
        issuer_ids: Collection[str],
        settings: BackfillSettings,
        state: BackfillState,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        """Assemble it.

        Args:
            backfill: Fetches a card's operations.
            log: The event log.
            records: What is remembered.
            leases: Decide which gateway leads.
            issuer_ids: The issuers.
            settings: The settings.
            state: Shows what it does.
            now_ms: The wall clock, in milliseconds since 1970 (UTC).
        """
        self._backfill = backfill
        self._log = log
        self._records = records
        self._leases = leases
        self._issuer_ids = issuer_ids
        self._settings = settings
        self._state = state
        self._now_ms = now_ms
        self._gaps = Gaps(log, records, issuer_ids, settings, now_ms=now_ms)
        self._interval_seconds = min(_MAX_INTERVAL_SECONDS, settings.outage_seconds / 4)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run for as long as the context lasts: while the gateway takes notifications. Leaving it frees the lease."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def view(self) -> BackfillView:
        """Return what is done, by whichever gateway.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE or STORE_UNAVAILABLE, if this gateway stands by.
        """
        if self._state.is_leader or not await self._leases.is_taken(*_LEASE):
            return BackfillView(self._state)
        issuers = {
            issuer_id: await self._stored(issuer_id, gap_count)
            for issuer_id, gap_count in (await self._records.gap_counts(self._issuer_ids)).items()
        }
        return BackfillView(BackfillState(issuers=issuers), is_at_peer=True)

    async def _stored(self, issuer_id: str, gap_count: int) -> IssuerBackfill:
        """Return what the leader has stored of an issuer's run."""
        gaps, progress = await self._records.gaps(issuer_id), await self._records.progress(issuer_id)
        run = [gap for gap in gaps.values() if progress is not None and gap.name in progress.gaps]
        if progress is None or not run:
            return IssuerBackfill(pending_gaps=gap_count)
        return IssuerBackfill(
            phase=BackfillPhase.RUNNING,
            causes=tuple(sorted({gap.cause for gap in run})),
            since_ms=progress.since_ms,
            cards_total=progress.total,
            cards_done=progress.done,
            recovered_count=progress.recovered,
            failed_count=progress.failed,
            pending_gaps=gap_count,
        )

    async def _run(self) -> None:
        self._leases.set_watchers(*_LEASE, 1)
        try:
            while True:
                lost = asyncio.Event()
                if (lease := await self._acquire(lost)) is None:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_STANDBY_SECONDS):
                            await self._leases.wait_free(*_LEASE)
                else:
                    await self._lead_safely(lease, lost)
                # Whatever fails, it fails no more often than this.
                await asyncio.sleep(_RETRY_SECONDS)
        finally:
            self._leases.set_watchers(*_LEASE, 0)

    async def _acquire(self, lost: asyncio.Event) -> Lease | None:
        try:
            return await self._leases.acquire(*_LEASE, lost.set)
        except GatewayError:
            return None

    async def _lead_safely(self, lease: Lease, lost: asyncio.Event) -> None:
        try:
            await self._lead(lease, lost)
        except Exception:  # noqa: BLE001 (a fault of ours must not end all backfills)
            _log.exception("backfill_failed")
            await asyncio.sleep(_STANDBY_SECONDS)

    async def _lead(self, lease: Lease, lost: asyncio.Event) -> None:
        """Do the work until the lease is lost."""
        state = self._state
        state.issuers = {issuer_id: IssuerBackfill() for issuer_id in self._issuer_ids}
        state.is_leader = True
        tools = self._tools(lease)
        workers = [IssuerWorker(issuer_id, tools, issuer) for issuer_id, issuer in state.issuers.items()]
        tasks = [asyncio.create_task(each) for each in (lost.wait(), self._work(lease, workers))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            state.is_leader, state.issuers = False, {}
        for end in ends:
            faults = end.split(LeaseLostError)[1] if isinstance(end, ExceptionGroup) else end
            if isinstance(faults, Exception):
                raise faults

    def _tools(self, lease: Lease) -> Tools:
        settings = self._settings
        active_cards = ActiveCards(
            self._log, self._records, active_card_seconds=settings.active_card_seconds, now_ms=self._now_ms
        )
        return Tools(
            backfill=self._backfill,
            records=self._records,
            active_cards=active_cards,
            lease=lease,
            interval_seconds=self._interval_seconds,
            settle_seconds=settings.outage_seconds,
            now_ms=self._now_ms,
        )

    async def _work(self, lease: Lease, workers: Collection[IssuerWorker]) -> None:
        # First what happened before, so that one run closes it together with what waits.
        while lease.is_held() and await self._look() is None:  # noqa: ASYNC110  an interval
            await asyncio.sleep(self._interval_seconds)
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.run())
            while lease.is_held():
                await asyncio.sleep(self._interval_seconds)
                if await self._look():
                    for worker in workers:
                        worker.wake()
            raise LeaseLostError

    async def _look(self) -> bool | None:
        """Look for gaps. Returns whether there are new ones; None if the storage is unavailable.

        Then nothing is taken either: that is a gap, which is found afterwards.
        """
        try:
            return await self._gaps.look()
        except GatewayError:
            return None
