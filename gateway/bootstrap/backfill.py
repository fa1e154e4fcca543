"""Assembles the backfill: on demand, and by itself."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from gateway.aio.clock import wall_clock_ms
from gateway.backfill.backfill import Backfill, CardResult
from gateway.backfill.noted_cards import NotedCards
from gateway.backfill.notes import CardNotes
from gateway.backfill.records import Records
from gateway.backfill.runner import AutomaticBackfill
from gateway.backfill.state import BackfillState, BackfillView
from gateway.ports import CardIssuer, OperationHistory, Storage
from gateway.settings import Settings

__all__ = ["Backfills", "opened_backfills"]


@dataclass(frozen=True, slots=True)
class Backfills:
    """The backfills of the gateway."""

    on_demand: Backfill
    """Fetches a card's operations."""
    state: BackfillState
    """What the automatic backfill does."""
    notes: CardNotes | None
    """Takes the cards of missed notifications; None if nothing is done by itself."""
    automatic: AutomaticBackfill | None

    def noting(self, cards: CardIssuer) -> CardIssuer:
        """Return a port that notes the cards that it changes."""
        return cards if self.notes is None else NotedCards(cards, self.notes.note_change)

    async def view(self) -> BackfillView:
        """Return what is done by itself, by whichever gateway; see `AutomaticBackfill.view`."""
        return BackfillView(self.state) if self.automatic is None else await self.automatic.view()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do what is done by itself for as long as the context lasts: while the gateway serves."""
        async with AsyncExitStack() as stack:
            if self.automatic is not None:
                await stack.enter_async_context(self.automatic.running())
            yield


@asynccontextmanager
async def opened_backfills(
    settings: Settings, history: OperationHistory, storage: Storage, on_card: Callable[[CardResult], None]
) -> AsyncIterator[Backfills]:
    """Assemble the backfills; what is noted is stored until the context ends."""
    own = settings.backfill
    backfill = Backfill(
        history,
        storage.log,
        calls_per_second=own.calls_per_second,
        retention_seconds=settings.event_log.retention_seconds,
        max_event_bytes=settings.edge.max_event_bytes,
        on_card=on_card,
    )
    if not own.enabled:
        yield Backfills(backfill, BackfillState(is_enabled=False), None, None)
        return
    records, state = Records(storage.key_value_store), BackfillState()
    notes = CardNotes(
        records,
        active_card_seconds=own.active_card_seconds,
        settle_seconds=own.outage_seconds,
        now_ms=wall_clock_ms,
    )
    automatic = AutomaticBackfill(
        backfill, storage.log, records, storage.leases, tuple(settings.issuers), own, state, now_ms=wall_clock_ms
    )
    async with notes.stored():
        yield Backfills(backfill, state, notes, automatic)
