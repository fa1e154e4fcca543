"""A gateway's automatic backfill between fakes, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from gateway.backfill.backfill import Backfill
from gateway.backfill.notes import CardNotes
from gateway.backfill.records import Records
from gateway.backfill.runner import AutomaticBackfill
from gateway.backfill.state import BackfillState
from gateway.ports import Event
from gateway.settings import BackfillSettings
from issuer.notification.v1.messages_pb2 import Notification
from tests.fakes import ISSUER, FakeEventLog, FakeKeyValueStore, FakeSubscriptionLeases, an_event
from tests.unit.backfill.histories import FakeOperationHistory, an_operation
from tests.unit.http.virtual_time import in_virtual_time

__all__ = ["OTHER_ISSUER", "START_SECONDS", "Gateway", "World", "played"]

OTHER_ISSUER = "ISSUER 0/2"
START_SECONDS = 1_000_000
"""The wall clock at the start of a story."""
_T = TypeVar("_T")


class World:
    """What gateways share: the platform, the storage, the time."""

    def __init__(self) -> None:
        self.history = FakeOperationHistory()
        self.log = FakeEventLog()
        self.store = FakeKeyValueStore()
        self.leases = FakeSubscriptionLeases()
        self.records = Records(self.store)
        self._began = asyncio.get_running_loop().time()
        self.settings = BackfillSettings(calls_per_second=5)

    def shift(self, seconds: float) -> None:
        """Set the wall clock forward."""
        self._began -= seconds

    def now(self) -> float:
        """Return the wall clock in seconds."""
        return START_SECONDS + asyncio.get_running_loop().time() - self._began

    def now_ms(self) -> int:
        return round(1000 * self.now())

    def notified(self, number: int, card_id: str = "card-1", issuer_id: str = ISSUER, *, ago: float = 0) -> None:
        """Add an operation that D1 has notified."""
        time_ms = round(1000 * (self.now() - ago))
        self.log.put(an_event(number, card_id=card_id, issuer_id=issuer_id, receive_time_ms=time_ms))
        self.lost(number, card_id, ago=ago)

    def lost(self, number: int, card_id: str = "card-1", *, ago: float = 0) -> None:
        """Add an operation to the history whose notification got lost."""
        self.history.cards[card_id].append(an_operation(number, second=int(self.now() - ago)))

    def recovered(self) -> list[str]:
        """Return the ids of the recovered operations, in the order of the log."""
        return [_operation_id(stored.event) for stored in self.log.held if _is_recovered(stored.event)]

    def read_cards(self) -> list[str]:
        """Return the cards whose history was read, in the order of the calls."""
        return [card_id for card_id, _ in self.history.calls]

    @asynccontextmanager
    async def serving(self, *, leases: FakeSubscriptionLeases | None = None) -> AsyncIterator["Gateway"]:
        """Run a gateway for as long as the context lasts."""
        gateway = Gateway(self, leases or self.leases)
        async with gateway.notes.stored(), gateway.automatic.running():
            yield gateway


class Gateway:
    """A gateway."""

    def __init__(self, world: World, leases: FakeSubscriptionLeases) -> None:
        settings = world.settings
        self.state = BackfillState()
        backfill = Backfill(
            world.history,
            world.log,
            calls_per_second=settings.calls_per_second,
            retention_seconds=1e9,
            now_ns=lambda: world.now_ms() * 1_000_000,
        )
        self.notes = CardNotes(
            world.records,
            active_card_seconds=settings.active_card_seconds,
            settle_seconds=settings.outage_seconds,
            now_ms=world.now_ms,
        )
        self.automatic = AutomaticBackfill(
            backfill,
            world.log,
            world.records,
            leases,
            (ISSUER, OTHER_ISSUER),
            settings,
            self.state,
            now_ms=world.now_ms,
        )


def _operation_id(event: Event) -> str:
    return Notification.FromString(event.payload).three_ds_operation.operation_id


def _is_recovered(event: Event) -> bool:
    return Notification.FromString(event.payload).recovered


def played(story: Callable[[World], Awaitable[_T]]) -> _T:
    """Play a story in virtual time."""

    async def play() -> _T:
        return await story(World())

    return in_virtual_time(play())
