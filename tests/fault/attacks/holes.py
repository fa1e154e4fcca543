"""Purchases whose notifications get lost in every way, and watchers that nevertheless want all of them."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import grpc

from issuer.card.v1.messages_pb2 import RegisterCardRequest
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.notification.v1 import messages_pb2 as notification
from sandbox.common.faults import Drop, Fault
from sandbox.d1.acs.purchase import Flow, Order, Purchase
from tests.contract.card_rpcs import credentials
from tests.e2e.watching import operation_ids
from tests.fault.attacks.cable import Cable, Carries
from tests.fault.cluster.following import Follower, batches, read, watch_request
from tests.fault.cluster.named_watchers import Subscription
from tests.fault.processes import Processes, during

__all__ = ["EDGE_TIMEOUT_SECONDS", "Holes", "holes"]

EDGE_TIMEOUT_SECONDS: Final = 0.5
"""How long D1 waits for the edge here."""
_NOTIFY: Final = "notify3dsOperation"
_SETTLED_SECONDS: Final = 120.0
_CALL_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05
_DENIED: Final = 0.3
"""The share of challenges that the consumer denies."""


@dataclass(slots=True, repr=False)
class Holes:
    """The gateways, what D1 does, and who watches."""

    gateways: Processes
    cables: Sequence[Cable]
    """Between D1 and each gateway's edge."""
    cards: Sequence[str]
    seed: str
    chance: random.Random
    begin: str
    """The cursor from which the watchers started."""
    follower: Follower
    """Watches without a name, and leaves and comes back all the time."""
    subscription: Subscription
    purchases: list[Purchase] = field(default_factory=list)

    async def buy(self, count: int, seconds: float) -> None:
        """Make purchases, spread over a time, and wait until D1 has notified them or given up."""
        pauses = [self.chance.expovariate(1.0) for _ in range(count)]
        for pause in pauses:
            card_id, flow = self.chance.choice(self.cards), self.chance.choice([Flow.FRICTIONLESS, Flow.OOB])
            denies = flow is Flow.OOB and self.chance.random() < _DENIED
            order = Order(card_id, flow, approves=not denies)
            purchase = self.gateways.sandbox.purchases.start(order)
            self.purchases.append(purchase)
            if denies:
                await purchase.awaiting()
                purchase.deny()
            await asyncio.sleep(pause * seconds / sum(pauses))
        await asyncio.gather(*(each.notified() for each in self.purchases))

    async def lose_one_of_each_card(self) -> None:
        """Make a purchase with each card, of which D1 loses all notifications."""
        self.gateways.sandbox.faults.add(Fault(_NOTIFY, times=len(self.cards), drop=Drop.FOR_GOOD))
        for card_id in self.cards:
            self.purchases.append(self.gateways.sandbox.purchases.start(Order(card_id, Flow.FRICTIONLESS)))
        await asyncio.gather(*(each.notified() for each in self.purchases))

    @asynccontextmanager
    async def trouble(self, *, only_noticed: bool = False) -> AsyncIterator[None]:
        """Have everything go wrong for the duration of the block, one after the other; then mend it.

        Args:
            only_noticed: Only what a gateway can notice, at the latest when it starts again.
        """
        troubles: list[Callable[[], Awaitable[None]]] = [self._kill, self._mangle]
        if not only_noticed:
            troubles += [
                self._refuse_connections,
                self._cut,
                self._swallow_requests,
                self._swallow_responses,
                self._lose,
                self._refuse_on_the_way,
            ]
        async with during(partial(self._repeat, troubles)):
            yield

    async def _repeat(self, troubles: list[Callable[[], Awaitable[None]]], ending: asyncio.Event) -> None:
        while not ending.is_set():
            # Each of them comes soon.
            self.chance.shuffle(troubles)
            for each in troubles:
                await each()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.chance.uniform(0.0, 0.4)):
                        await ending.wait()
                if ending.is_set():
                    break
        self.gateways.sandbox.faults.clear()

    async def _kill(self) -> None:
        number = self.chance.randrange(len(self.cables))
        await self.gateways.kill(number)
        await self._last()
        await self.gateways.start(number)

    async def _refuse_connections(self) -> None:
        for cable in self.cables:
            cable.refuse()
        await self._last()
        for cable in self.cables:
            await cable.mend()

    async def _cut(self) -> None:
        for _ in range(self.chance.randint(1, 20)):
            self.chance.choice(self.cables).cut()
            await asyncio.sleep(self.chance.uniform(0.0, 0.05))

    async def _swallow_requests(self) -> None:
        await self._swallow(Carries.NO_REQUESTS)

    async def _swallow_responses(self) -> None:
        await self._swallow(Carries.NO_RESPONSES)

    async def _swallow(self, carries: Carries) -> None:
        for cable in self.cables:
            cable.carries = carries
        await self._last()
        for cable in self.cables:
            await cable.mend()

    async def _lose(self) -> None:
        self._fault(drop=Drop.FOR_GOOD)

    async def _mangle(self) -> None:
        self._fault(truncate=True)

    async def _refuse_on_the_way(self) -> None:
        self._fault(status=400)

    def _fault(self, **what: Any) -> None:
        self.gateways.sandbox.faults.add(Fault(_NOTIFY, times=self.chance.randint(1, 3), **what))

    async def _last(self) -> None:
        # Longer than D1 tries, or shorter.
        await asyncio.sleep(self.chance.uniform(0.3, 5.0))

    async def complete(self) -> None:
        """Wait until the unnamed watcher has all that D1's history has."""
        async with asyncio.timeout(_SETTLED_SECONDS):
            while self.missing():  # noqa: ASYNC110 (a watcher has no event for it)
                await asyncio.sleep(_POLL_SECONDS)

    async def settle(self) -> "list[notification.Notification]":
        """Wait until all watchers have all of it, and what comes next. Return what the log has."""
        await self.complete()
        async with asyncio.timeout(_SETTLED_SECONDS):
            last = self.gateways.sandbox.purchases.start(Order(self.cards[0], Flow.FRICTIONLESS))
            assert (await last.notified()).status == HTTPStatus.NO_CONTENT
            for has_received in (self.follower.has_received, self.subscription.has_received):
                while not has_received(last.operation_id):  # noqa: ASYNC110 (the same)
                    await asyncio.sleep(_POLL_SECONDS)
        stored = [await read(channel, self.begin, last.operation_id) for channel in self.gateways.channels]
        assert all(each == stored[0] for each in stored), "the gateways do not hold the same"
        reported = [await self.subscription.reported(channel) for channel in self.gateways.channels]
        self.subscription.committed = [each.committed_cursor for each in reported]
        return stored[0]

    def missing(self) -> set[str]:
        """Return the operations that D1's history has and the unnamed watcher has not received yet."""
        happened = {each.operation_id for each in self.gateways.sandbox.history.all()}
        return happened.difference(self.follower.operation_ids)

    def check(self, stored: Sequence[notification.Notification]) -> None:
        """Check that the event log has exactly what D1's history has, once, and that the watchers got it.

        Recovered operations of a card that were fetched together must be in the order of D1's times.
        """
        operations = [each for each in stored if each.HasField("three_ds_operation")]
        assert Counter(map(_state, operations)) == Counter(
            (each.card_id, each.operation_id, each.operation, each.status)
            for each in self.gateways.sandbox.history.all()
        )
        ids = operation_ids(stored)
        assert self.follower.operation_ids == ids, "the watcher missed something, or saw it twice or out of order"
        places = {self.begin: 0} | {each.cursor: place for place, each in enumerate(stored, 1)}
        self.subscription.check(places, ids)
        recovered = [each for each in operations if each.recovered]
        together = defaultdict[tuple[str, str], list[int]](list)
        for each in recovered:
            time_ms = each.three_ds_operation.start_time.ToMilliseconds()
            together[each.card_id, each.correlation_id].append(time_ms)
        assert all(times == sorted(times) for times in together.values()), "recovered ones are out of order"
        lost = {each.operation_id for each in self.purchases if each.delivery and each.delivery.status is None}
        assert lost, "D1 delivered everything"
        assert lost.intersection(operation_ids(recovered)), "nothing was recovered that D1 had given up"


def _state(each: notification.Notification) -> tuple[str, str, str, str]:
    operation = each.three_ds_operation
    return each.card_id, operation.operation_id, operation.type_text, operation.status_text


@asynccontextmanager
async def holes(gateways: Processes, cards: int, seed: str) -> AsyncIterator[Holes]:
    """Register cards, and watch for the duration of the block."""
    sandbox = gateways.sandbox
    card_ids = [f"card_{number:03}" for number in range(cards)]
    for number, card_id in enumerate(card_ids):
        await CardServiceStub(gateways.channels[0]).RegisterCard(
            RegisterCardRequest(
                card_id=card_id,
                consumer_id="consumer-1",
                card_product_id="light",
                credentials=credentials(f"4970{number:012}"),
            ),
            timeout=_CALL_SECONDS,
        )
    async with AsyncExitStack() as stack:
        edges = [gateway.edge for gateway in gateways.gateways]
        cables = [await stack.enter_async_context(Cable.laid(edge)) for edge in edges]
        sandbox.set_edge(*(cable.url for cable in cables))
        sandbox.authenticators.enrol("consumer-1")
        begin = await _end_of_log(gateways.channels[0])
        follower, subscription = Follower(gateways.channels, begin), Subscription("ledger", seed)
        await subscription.make(gateways.channels[0], begin)
        chance = random.Random(seed)  # noqa: S311 - no secret
        made = Holes(gateways, cables, card_ids, seed, chance, begin, follower, subscription)
        watching = await stack.enter_async_context(asyncio.TaskGroup())
        watches = [watching.create_task(_restlessly(follower, random.Random(f"{seed} watcher")))]  # noqa: S311
        for number, channel in enumerate(gateways.channels):
            watches.append(watching.create_task(subscription.watch(number, channel)))
        yield made
        for watch in watches:
            watch.cancel()


async def _restlessly(follower: Follower, chance: random.Random) -> None:
    """Watch, and leave and come back all the time."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0.05, 2.0)):
                await follower.run()


async def _end_of_log(channel: grpc.aio.Channel) -> str:
    async with aclosing(batches(channel, watch_request(position=notification.START_POSITION_LATEST))) as watch:
        return (await anext(watch)).cursor
