"""Notifications that D1 posts to two edges: some twice at once, some repeated, and to the other edge on failure."""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

from sandbox.d1.callbacks.edge_client import EdgeClient, NotDeliveredError
from sandbox.d1.model.notification import Notification, new_details
from tests.fault.processes import during

__all__ = ["Posts"]

_CARDS = 6
_PAUSE_SECONDS = (0.04, 0.12)
"""The pause between two notifications of a card, as between real operations."""
_AGAIN_SECONDS = 0.1
"""The pause before a rejected notification is repeated."""
_TAKEN, _NOT_TAKEN = 204, 503
# The shares of notifications that D1 posts to both edges at once, repeats after an acknowledgement, and does not repeat
# after a failure.
_DOUBLED = 0.1
_REPEATED = 0.1
_GIVEN_UP = 0.05


class Posts:
    """Posts while it runs, and records the acknowledgements.

    Each card has one operation at a time, the next one after the acknowledgement: so their order is known.
    """

    def __init__(self, edges: Sequence[EdgeClient], seed: str, name: str) -> None:
        self.sent: set[str] = set()
        """All operations posted."""
        self.acknowledged: defaultdict[str, list[str]] = defaultdict(list)
        """For each card the operations with a 204, in the order of posting."""
        self.rejected_count = 0
        """The number of posts with a 503."""
        self.broken_count = 0
        """The number of posts without a response before D1 gave up waiting."""
        self.cards = [f"{name}_card_{place}" for place in range(_CARDS)]
        """The cards with continuous operations."""
        self._edges = edges
        self._seed = seed
        self._name = name

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Post for the duration of the block, then until everything that D1 does not give up is acknowledged."""
        async with during(*(partial(self._post_of, card_id) for card_id in self.cards)):
            yield

    def latest(self) -> str | None:
        """A recently acknowledged operation."""
        return next((each[-1] for each in self.acknowledged.values() if each), None)

    async def post_once_more(self) -> str:
        """Post a further notification until it is acknowledged; return its operation."""
        new = self._new(f"{self._name}_more", len(self.sent))
        await self._deliver(new, 0)
        self.acknowledged[new.card_id].append(new.operation_id)
        return new.operation_id

    async def post_to(self, edge: int) -> int | None:
        """Post one notification to one edge, once; return the status, None without a response."""
        new = self._new(f"{self._name}_probe_{edge}", len(self.sent))
        status = await self._try(new, edge)
        if status == _TAKEN:
            self.acknowledged[new.card_id].append(new.operation_id)
        return status

    async def _post_of(self, card_id: str, ending: asyncio.Event) -> None:
        chance = random.Random(f"{self._seed} {self.cards.index(card_id)}")  # noqa: S311 - no secret
        taken: list[Notification] = []
        for place in itertools.count():
            await asyncio.sleep(chance.uniform(*_PAUSE_SECONDS))
            if ending.is_set():
                return
            new, edge, kind = self._new(card_id, place), chance.randrange(len(self._edges)), chance.random()
            if kind < _GIVEN_UP:
                if await self._try(new, edge) != _TAKEN:
                    continue
            elif kind < _GIVEN_UP + _DOUBLED:
                await asyncio.gather(self._deliver(new, edge), self._deliver(new, self._other(edge)))
            else:
                await self._deliver(new, edge)
            taken.append(new)
            self.acknowledged[card_id].append(new.operation_id)
            if chance.random() < _REPEATED:
                await self._deliver(chance.choice(taken), chance.randrange(len(self._edges)))

    async def _deliver(self, notification: Notification, edge: int) -> None:
        while await self._try(notification, edge) != _TAKEN:
            edge = self._other(edge)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _try(self, notification: Notification, edge: int) -> int | None:
        self.sent.add(notification.operation_id)
        try:
            response = await self._edges[edge].call(
                notification.call, notification.ids, correlation_id=notification.operation_id, body=notification.body()
            )
        except NotDeliveredError:
            self.broken_count += 1
            return None
        if response.status != _TAKEN:
            assert response.status == _NOT_TAKEN, f"the edge responded {response.status}"
            self.rejected_count += 1
        return response.status

    def _new(self, card_id: str, place: int) -> Notification:
        return Notification(card_id, f"{card_id}_{place:05}", datetime.now(UTC), details=new_details())

    def _other(self, edge: int) -> int:
        return (edge + 1) % len(self._edges)
