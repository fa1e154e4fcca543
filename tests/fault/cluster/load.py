"""The whole load: D1's notifications and callbacks, services' calls, watchers and handlers, at both gateways."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from uuid import uuid4

import grpc

from issuer.notification.v1 import messages_pb2 as notification
from sandbox.d1.callbacks.edge_client import EdgeClient
from sandbox.d1.model.contract import DELIVER_OTP
from tests.e2e.watching import connect, operation_ids
from tests.fault.cluster.callbacks import Callbacks, handlers
from tests.fault.cluster.calling import Calls
from tests.fault.cluster.following import Follower, batches, read, reread, watch_request
from tests.fault.cluster.named_watchers import Subscription
from tests.fault.cluster.posting import Posts
from tests.fault.cluster.stage import Stage
from tests.running import edge_tls

__all__ = ["Load", "under_load"]

_SECONDS = 30.0
"""A limit that nothing here exceeds even on a busy machine."""
_POLL_SECONDS = 0.02


@dataclass(slots=True, repr=False)
class Load:
    """All participants, and their results."""

    stage: Stage
    channels: Sequence[grpc.aio.Channel]
    begin: str
    """The cursor from which all watchers started."""
    posts: Posts
    followers: Sequence[Follower]
    card_follower: Follower
    """The watcher of the first card only."""
    subscriptions: Sequence[Subscription]
    calls: Calls
    callbacks: Callbacks
    errors_before: frozenset[str]
    """The gateways' logged errors at the start."""
    rereads: list[list[str]] = field(default_factory=list)
    """The repeated reads from the beginning."""
    stored: list[notification.Notification] = field(default_factory=list)
    """The final content of the log, in order."""

    async def edges_take(self) -> None:
        """Wait until each edge accepts notifications."""
        for edge in range(len(self.channels)):
            await _until(partial(self._takes, edge))

    async def watchers_receive(self) -> str:
        """Wait until every watcher has received a new notification; return its operation."""
        last = await self.posts.post_once_more()
        for follower in self.followers:
            await _until(partial(follower.has_received, last))
        for subscription in self.subscriptions:
            await _until(partial(subscription.has_received, last))
        return last

    async def leaves(self, gateway: int) -> None:
        """Wait until every subscription's active watcher is at the other gateway."""
        for subscription in self.subscriptions:
            await _until(partial(subscription.has_left, gateway))

    async def is_alone(self, gateway: int) -> None:
        """Wait until a gateway counts its own watchers only."""

        async def counts_one(subscription: Subscription) -> bool:
            return (await subscription.reported(self.channels[gateway])).watcher_count == 1

        for subscription in self.subscriptions:
            await _until(partial(counts_one, subscription))

    async def is_whole(self) -> None:
        """Wait until both gateways are fully operational."""
        await self.edges_take()
        await self.watchers_receive()
        for gateway in range(len(self.channels)):
            await _until(partial(self._serves, gateway))

    async def settle(self) -> None:
        """Wait until every watcher is up to date, and read the log at both gateways."""
        last = await self.watchers_receive()
        self.stored, other = [await read(channel, self.begin, last) for channel in self.channels]
        assert self.stored == other, "the gateways do not hold the same"
        for subscription in self.subscriptions:
            subscription.committed = [(await subscription.reported(each)).committed_cursor for each in self.channels]
        of_card = operation_ids(each for each in self.stored if each.card_id == self.posts.cards[0])
        await _until(partial(self.card_follower.has_received, of_card[-1]))

    async def _takes(self, edge: int) -> bool:
        return await self.posts.post_to(edge) == HTTPStatus.NO_CONTENT

    async def _serves(self, gateway: int) -> bool:
        return (
            await self.stage.is_ready(gateway)
            and await self.stage.has_handlers(gateway, "consumer_information")
            and await self.callbacks.call(DELIVER_OTP, gateway) == DELIVER_OTP.success
        )


@asynccontextmanager
async def under_load(stage: Stage, seed: str, *, changes: bool = True) -> AsyncIterator[Load]:
    """Run the load for the duration of the block, then wait until every watcher is up to date."""
    async with AsyncExitStack() as stack:
        load = await _made(stack, stage, seed)
        watching = await stack.enter_async_context(asyncio.TaskGroup())
        watches = [watching.create_task(each.run()) for each in (*load.followers, load.card_follower)]
        for first, subscription in enumerate(load.subscriptions):
            # Each gateway has the first watcher of one subscription, which is the active one.
            for place in range(len(load.channels)):
                watcher = (first + place) % len(load.channels)
                watches.append(watching.create_task(subscription.watch(watcher, load.channels[watcher])))
                await _until(subscription.has_begun)
        async with handlers(stage.grpc, stage.sandbox.pki):
            async with (
                reread(load.channels, load.begin, load.posts.latest, load.rereads),
                load.calls.run(changes=changes),
                load.callbacks.run(),
                load.posts.run(),
            ):
                yield load
            await load.settle()
        for watch in watches:
            watch.cancel()


async def _made(stack: AsyncExitStack, stage: Stage, seed: str) -> Load:
    # Tests on one stage must not share cards.
    name = f"t{uuid4().hex[:8]}"
    channels = [await stack.enter_async_context(connect(address, stage.sandbox.pki)) for address in stage.grpc]
    tls, issuer_id = edge_tls(stage.sandbox), stage.sandbox.issuer_id
    edges = [await stack.enter_async_context(EdgeClient.run(tls, issuer_id, clock=time.time)) for _ in stage.edges]
    for edge, url in zip(edges, stage.edges, strict=True):
        edge.set_edge(url)
    begin = await _end_of_log(channels[0])
    posts = Posts(edges, seed, name)
    subscriptions = [Subscription(f"{name}-{number}", seed) for number in range(len(channels))]
    for subscription in subscriptions:
        await subscription.make(channels[0], begin)
    return Load(
        stage,
        channels,
        begin,
        posts,
        followers=[*(Follower([channel], begin) for channel in channels), Follower(channels, begin)],
        card_follower=Follower(channels[::-1], begin, posts.cards[0]),
        subscriptions=subscriptions,
        calls=Calls(channels, name),
        callbacks=Callbacks(edges, name),
        errors_before=stage.errors(),
    )


async def _until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(_SECONDS):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(_POLL_SECONDS)


async def _end_of_log(channel: grpc.aio.Channel) -> str:
    from_now = watch_request(position=notification.START_POSITION_LATEST)
    async with aclosing(batches(channel, from_now)) as watch:
        return (await anext(watch)).cursor
