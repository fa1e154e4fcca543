"""Notifications as D1 sends them: many at a time, some twice, and again without a response."""

import asyncio
import itertools
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from issuer.notification.v1 import messages_pb2 as notification
from sandbox.d1.callbacks.notifier import NotDeliveredError, Notifier
from sandbox.d1.model.notification import Notification, new_details
from tests.e2e.watching import operation_ids

__all__ = ["Load"]

_MOST_ATTEMPTS = 400
_PAUSE_SECONDS = 0.1
_BURST = 4
# For notifications sent one by one: the shares that D1 does not repeat without a response, that it sends twice at the
# same time, and that it follows with an acknowledged one.
_GIVEN_UP = 0.1
_DOUBLED = 0.1
_REPEATED = 0.1


class Load:
    """Sends notifications while it runs, and records the responses."""

    def __init__(self, notifier: Notifier, seed: str) -> None:
        self.sent: set[str] = set()
        self.acknowledged: defaultdict[str, list[str]] = defaultdict(list)
        """For each card the operations with a 204, in the order of sending."""
        self.unanswered = 0
        """The number of attempts without a response."""
        self._notifier = notifier
        self._seed = seed
        self._ending = asyncio.Event()

    @asynccontextmanager
    async def run(self, *, cards: int, bursts: int) -> AsyncIterator[None]:
        """Send for the duration of the block, then finish what is in progress.

        Some cards have one notification at a time, some have bursts of several.
        """
        async with asyncio.TaskGroup() as tasks:
            for place in range(cards):
                tasks.create_task(self._one_by_one(f"card_{place}"))
            for place in range(bursts):
                tasks.create_task(self._in_bursts(f"burst_{place}"))
            try:
                yield
            finally:
                self._ending.set()

    async def send(self, notification: Notification, *, attempts: int = _MOST_ATTEMPTS) -> bool:
        """Send a notification until it gets a 204; return whether it did."""
        self.sent.add(notification.operation_id)
        for _ in range(attempts):
            try:
                if await self._notifier.send(notification) == 204:
                    return True
            except NotDeliveredError:
                self.unanswered += 1
            await asyncio.sleep(_PAUSE_SECONDS)
        return False

    def assert_stored(self, stored: Sequence[notification.Notification]) -> None:
        """Check that what was acknowledged is in the event log once, and each card's in the order of sending."""
        delivered = operation_ids(stored)
        assert len(set(delivered)) == len(delivered), "something was delivered twice"
        assert set(delivered) <= self.sent
        for card_id, acknowledged in self.acknowledged.items():
            of_card = operation_ids(each for each in stored if each.card_id == card_id)
            assert set(acknowledged) <= set(of_card), f"of {card_id} something acknowledged was lost"
            if card_id.startswith("card_"):
                known = set(acknowledged)
                assert [each for each in of_card if each in known] == acknowledged, f"{card_id} is out of order"

    async def _one_by_one(self, card_id: str) -> None:
        chance = random.Random(f"{self._seed} {card_id}")  # noqa: S311 - no secret
        taken: list[Notification] = []
        for place in itertools.count():
            if self._ending.is_set():
                return
            new = _notification(card_id, place)
            kind = chance.random()
            if kind < _GIVEN_UP:
                if not await self.send(new, attempts=1):
                    continue
            else:
                copies = 2 if kind < _GIVEN_UP + _DOUBLED else 1
                assert all(await asyncio.gather(*(self.send(new) for _ in range(copies)))), "never answered"
            taken.append(new)
            self.acknowledged[card_id].append(new.operation_id)
            if chance.random() < _REPEATED:
                assert await self.send(chance.choice(taken)), "never answered"

    async def _in_bursts(self, card_id: str) -> None:
        count = 0
        while not self._ending.is_set():
            burst = [_notification(card_id, count + place) for place in range(_BURST)]
            count += _BURST
            assert all(await asyncio.gather(*map(self.send, burst))), "never answered"
            self.acknowledged[card_id] += [each.operation_id for each in burst]


def _notification(card_id: str, place: int) -> Notification:
    return Notification(card_id, f"op_{card_id}_{place:06d}", datetime.now(UTC), details=new_details())
