"""Unnamed watchers, which resume at their own cursors."""

import asyncio
import itertools
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import grpc

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from tests.e2e.watching import operation_ids

__all__ = ["HEARTBEAT_SECONDS", "PASSING", "Follower", "read", "reread"]

HEARTBEAT_SECONDS = 0.5
PASSING = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
"""The possible ends of a stream. gRPC's server uses CANCELLED for calls that arrive just as it starts to drain."""
_AGAIN_SECONDS = 0.05
_REREAD_SECONDS = 0.5


class Follower:
    """Receives from a cursor on, without an end."""

    def __init__(self, channels: Sequence[grpc.aio.Channel], cursor: str, card_id: str = "") -> None:
        self.operation_ids: list[str] = []
        """All received operations, in order."""
        self._channels = channels
        self._request = notification.WatchNotificationsRequest(after_cursor=cursor)
        self._request.heartbeat_interval.FromMilliseconds(round(HEARTBEAT_SECONDS * 1000))
        if card_id:
            self._request.filter.card_ids.append(card_id)

    def has_received(self, operation_id: str) -> bool:
        """Return whether it received an operation."""
        return operation_id in self.operation_ids

    async def run(self) -> None:
        """Receive until cancelled."""
        for channel in itertools.cycle(self._channels):
            watch = NotificationServiceStub(channel).WatchNotifications(self._request)
            try:
                await self._receive(watch)
            except grpc.aio.AioRpcError as error:
                if error.code() not in PASSING:
                    raise
            finally:
                watch.cancel()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _receive(self, watch: AsyncIterable[notification.WatchNotificationsResponse]) -> None:
        async for batch in watch:
            self.operation_ids += operation_ids(batch.notifications)
            self._request.after_cursor = batch.cursor


async def read(channel: grpc.aio.Channel, cursor: str, last: str) -> list[notification.Notification]:
    """Read from a cursor to an operation.

    Raises:
        grpc.aio.AioRpcError: The stream was interrupted.
    """
    seen: list[notification.Notification] = []
    request = notification.WatchNotificationsRequest(after_cursor=cursor)
    watch = NotificationServiceStub(channel).WatchNotifications(request)
    try:
        async for batch in watch:
            seen += batch.notifications
            if last in operation_ids(batch.notifications):
                break
    finally:
        watch.cancel()
    return seen


@asynccontextmanager
async def reread(
    channels: Sequence[grpc.aio.Channel], cursor: str, last: Callable[[], str | None], found: list[list[str]]
) -> AsyncIterator[None]:
    """Read repeatedly from a cursor to an operation in the log, for the duration of the block."""

    async def repeat() -> None:
        for channel in itertools.cycle(channels):
            await asyncio.sleep(_REREAD_SECONDS)
            operation_id = last()
            if operation_id is not None:
                try:
                    found.append(operation_ids(await read(channel, cursor, operation_id)))
                except grpc.aio.AioRpcError as error:
                    if error.code() not in PASSING:
                        raise

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(repeat())
        yield
        reading.cancel()
