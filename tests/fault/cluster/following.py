"""Watches of gateways that come and go, and unnamed watchers, which resume at their own cursors."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from tests.e2e.watching import operation_ids, take

__all__ = ["AGAIN_SECONDS", "Follower", "batches", "passing", "read", "reread", "watch_request"]

AGAIN_SECONDS = 0.05
_HEARTBEAT_MS = 500
_REREAD_SECONDS = 0.5


def watch_request(**where: Any) -> notification.WatchNotificationsRequest:
    """Request a watch with frequent heartbeats."""
    request = notification.WatchNotificationsRequest(**where)
    request.heartbeat_interval.FromMilliseconds(_HEARTBEAT_MS)
    return request


@contextmanager
def passing() -> Iterator[None]:
    """Let what interrupts a call pass. gRPC's server cancels calls that arrive just as it starts to drain."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
            raise


async def batches(
    channel: grpc.aio.Channel, request: notification.WatchNotificationsRequest
) -> AsyncGenerator[notification.WatchNotificationsResponse, None]:
    """Watch until the stream is interrupted."""
    watch = NotificationServiceStub(channel).WatchNotifications(request)
    try:
        with passing():
            async for batch in watch:
                yield batch
    finally:
        watch.cancel()


class Follower:
    """Receives from a cursor on, without an end."""

    def __init__(self, channels: Sequence[grpc.aio.Channel], cursor: str, card_id: str = "") -> None:
        self.operation_ids: list[str] = []
        """All received operations, in order."""
        self._channels = channels
        self._request = watch_request(after_cursor=cursor, filter={"card_ids": [card_id] if card_id else []})

    def has_received(self, operation_id: str) -> bool:
        return operation_id in self.operation_ids

    async def run(self) -> None:
        """Receive until cancelled."""
        for channel in itertools.cycle(self._channels):
            async for batch in batches(channel, self._request):
                self.operation_ids += operation_ids(batch.notifications)
                self._request.after_cursor = batch.cursor
            await asyncio.sleep(AGAIN_SECONDS)


async def read(channel: grpc.aio.Channel, cursor: str, last: str) -> list[notification.Notification]:
    """Read from a cursor to an operation; an interruption is raised."""
    return await take(channel, watch_request(after_cursor=cursor), lambda seen: last in operation_ids(seen))


@asynccontextmanager
async def reread(
    channels: Sequence[grpc.aio.Channel], cursor: str, last: Callable[[], str | None], found: list[list[str]]
) -> AsyncIterator[None]:
    """Read repeatedly from a cursor to an operation in the log, for the duration of the block."""

    async def repeat() -> None:
        for channel in itertools.cycle(channels):
            await asyncio.sleep(_REREAD_SECONDS)
            if (operation_id := last()) is not None:
                with passing():
                    found.append(operation_ids(await read(channel, cursor, operation_id)))

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(repeat())
        yield
        reading.cancel()
