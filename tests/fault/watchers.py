"""Watchers of a subscription, which record every message."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from uuid import uuid4

import grpc

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub

__all__ = ["Batch", "Watched", "Watcher", "watched"]

_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Batch:
    """A message that a watcher received."""

    time: float
    role: "notification.WatcherRole.ValueType"
    fence: int
    cursor: str
    operation_ids: Sequence[str]


@dataclass(slots=True)
class Watcher:
    """A client that watches a subscription and records every message."""

    batches: list[Batch] = field(default_factory=list)
    error: grpc.aio.AioRpcError | None = None
    """The error that ended its stream."""

    @property
    def role(self) -> "notification.WatcherRole.ValueType":
        """Its latest role."""
        return self.batches[-1].role if self.batches else notification.WATCHER_ROLE_UNSPECIFIED

    @property
    def operation_ids(self) -> list[str]:
        """All received operations, in order."""
        return [each for batch in self.batches for each in batch.operation_ids]

    async def becomes(self, role: "notification.WatcherRole.ValueType") -> Batch:
        """Wait until it has a role; return the first message that says so."""
        await self.until(lambda: self.role == role)
        return list(takewhile(lambda batch: batch.role == role, reversed(self.batches)))[-1]

    async def receives(self, operation_id: str) -> None:
        """Wait until it has received an operation."""
        await self.until(lambda: operation_id in self.operation_ids)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on its messages."""
        async with asyncio.timeout(_SECONDS):
            while not condition():
                assert self.error is None, f"the stream ended: {self.error}"
                await asyncio.sleep(0.005)

    async def watch(self, channel: grpc.aio.Channel, request: notification.WatchNotificationsRequest) -> None:
        """Receive until the stream ends."""
        call = NotificationServiceStub(channel).WatchNotifications(request, wait_for_ready=True)
        try:
            async for message in call:
                ids = [each.three_ds_operation.operation_id for each in message.notifications]
                self.batches.append(Batch(time.monotonic(), message.role, message.fence, message.cursor, ids))
        except grpc.aio.AioRpcError as error:
            self.error = error
        finally:
            call.cancel()


@dataclass(frozen=True, slots=True)
class Watched:
    """A subscription with a watcher over each channel; the first channel's watcher is active first."""

    name: str
    watchers: Sequence[Watcher]
    channel: grpc.aio.Channel
    """The last one."""

    async def commit(self, cursor: str) -> None:
        """Commit at the last gateway."""
        request = notification.CommitCursorRequest(subscription=self.name, cursor=cursor)
        await NotificationServiceStub(self.channel).CommitCursor(request, timeout=_SECONDS)

    async def watcher_count(self) -> int:
        """Return the number of watchers, as the last gateway reports it."""
        request = notification.GetSubscriptionRequest(subscription=self.name)
        response = await NotificationServiceStub(self.channel).GetSubscription(request, timeout=_SECONDS)
        return response.subscription.watchers


@asynccontextmanager
async def watched(channels: Sequence[grpc.aio.Channel]) -> AsyncIterator[Watched]:
    """Watch a new subscription from the end of the log on, for the duration of the block."""
    name = f"ledger-{uuid4().hex[:8]}"
    request = notification.WatchNotificationsRequest(subscription=name, after_cursor=await _end(channels[0]))
    request.heartbeat_interval.FromMilliseconds(200)
    watchers = [Watcher() for _ in channels]
    async with asyncio.TaskGroup() as tasks:
        watching = []
        for watcher, channel in zip(watchers, channels, strict=True):
            watching.append(tasks.create_task(watcher.watch(channel, request)))
            await watcher.until(lambda watcher=watcher: bool(watcher.batches))  # type: ignore[misc]
        yield Watched(name, watchers, channels[-1])
        for each in watching:
            each.cancel()


async def _end(channel: grpc.aio.Channel) -> str:
    request = notification.WatchNotificationsRequest(position=notification.START_POSITION_LATEST)
    call = NotificationServiceStub(channel).WatchNotifications(request, wait_for_ready=True)
    try:
        first = await call.read()
    finally:
        call.cancel()
    assert isinstance(first, notification.WatchNotificationsResponse)
    return first.cursor
