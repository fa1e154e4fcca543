"""The watchers of a named subscription, one at each gateway: their times of activity, and what they received."""

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import grpc

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from tests.e2e.watching import operation_ids
from tests.fault.cluster.following import AGAIN_SECONDS, batches, passing, watch_request

__all__ = ["Subscription", "Turn"]

_COMMITTED = 0.2
"""The share of received batches after which a watcher commits."""
_SECONDS = 10.0
_ON_ITS_WAY_SECONDS = 0.25
"""The tolerance for messages processed later than a message sent after them."""


@dataclass(slots=True)
class Turn:
    """What a watcher received while active, under one fencing token."""

    watcher: int
    asked_at: float
    """A time before it became active: its stream's start, or its last message as a standby."""
    cursor: str
    """Its first cursor."""
    operation_ids: list[str] = field(default_factory=list)


class Subscription:
    """A name, and the messages of its watchers."""

    def __init__(self, name: str, seed: str) -> None:
        self.name = name
        self.turns: dict[int, Turn] = {}
        """The turns by fencing token."""
        self.commits: list[tuple[float, str, str]] = []
        """For each commit: the time of its acknowledgement, the cursor, and the committed cursor in the response."""
        self.committed: Sequence[str] = ()
        """The final committed cursor, as each gateway reports it."""
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._request = watch_request(subscription=name)

    async def make(self, channel: grpc.aio.Channel, cursor: str) -> None:
        """Make the subscription, for watchers that begin after a cursor."""
        request = notification.ResetSubscriptionRequest(subscription=self.name, after_cursor=cursor)
        await NotificationServiceStub(channel).ResetSubscription(request, timeout=_SECONDS)

    def has_begun(self) -> bool:
        return bool(self.turns)

    def has_received(self, operation_id: str) -> bool:
        """Return whether the latest active watcher received an operation."""
        return operation_id in self.turns[max(self.turns)].operation_ids

    def has_left(self, watcher: int) -> bool:
        """Return whether the latest active watcher is another one."""
        return self.turns[max(self.turns)].watcher != watcher

    async def watch(self, watcher: int, channel: grpc.aio.Channel) -> None:
        """Watch at one gateway until cancelled, with occasional commits."""
        while True:
            asked_at, fences = time.monotonic(), set[int]()
            async for batch in batches(channel, self._request):
                if batch.role == notification.WATCHER_ROLE_STANDBY:
                    asked_at = time.monotonic()
                else:
                    self._take(batch, watcher, asked_at, fences)
                    if batch.notifications and self._chance.random() < _COMMITTED:
                        await self._commit(channel, batch.cursor, batch.fencing_token)
            await asyncio.sleep(AGAIN_SECONDS)

    async def reported(self, channel: grpc.aio.Channel) -> notification.Subscription:
        request = notification.GetSubscriptionRequest(subscription=self.name)
        response = await NotificationServiceStub(channel).GetSubscription(request, timeout=_SECONDS)
        return response.subscription

    def check(self, places: Mapping[str, int], expected: Sequence[str]) -> None:
        """Check that nothing was lost or out of order, and that repetitions start at the committed cursor."""
        commits = [(at + _ON_ITS_WAY_SECONDS, places[standing]) for at, _, standing in self.commits]
        for _, wanted, standing in self.commits:
            assert places[standing] >= places[wanted], f"{self.name}: what was committed does not stand"
        reached = 0
        for fencing_token, turn in sorted(self.turns.items()):
            begin, received = places[turn.cursor], turn.operation_ids
            assert received == expected[begin : begin + len(received)], (
                f"{self.name}: gap under fencing token {fencing_token}"
            )
            assert begin <= reached, f"{self.name}: something was lost before fencing token {fencing_token}"
            committed = max((place for at, place in commits if at < turn.asked_at), default=0)
            assert begin >= committed, f"{self.name}: fencing token {fencing_token} began before what was committed"
            reached = max(reached, begin + len(received))
        assert reached == len(expected), f"{self.name}: not all was delivered"
        assert len(set(self.committed)) == 1, f"{self.name}: the gateways do not agree on what was committed"
        assert places[self.committed[0]] >= max((place for _, place in commits), default=0), f"{self.name}: commit lost"

    def _take(
        self, batch: notification.WatchNotificationsResponse, watcher: int, asked_at: float, fences: set[int]
    ) -> None:
        if batch.fencing_token not in fences:
            assert batch.fencing_token not in self.turns, "two watchers had the same fencing token"
            fences.add(batch.fencing_token)
            self.turns[batch.fencing_token] = Turn(watcher, asked_at, batch.cursor)
            assert not batch.notifications, "the first message says where the turn begins"
        self.turns[batch.fencing_token].operation_ids += operation_ids(batch.notifications)

    async def _commit(self, channel: grpc.aio.Channel, cursor: str, fencing_token: int) -> None:
        request = notification.CommitCursorRequest(subscription=self.name, cursor=cursor, fencing_token=fencing_token)
        with passing():
            response = await NotificationServiceStub(channel).CommitCursor(request, timeout=_SECONDS)
            self.commits.append((time.monotonic(), cursor, response.committed_cursor))
