"""Watches notifications, and sends some as D1."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias

import grpc

from issuer.notification.v1 import messages_pb2 as notification
from sandbox.d1.model.notification import Notification, new_details, new_operation_id
from tests.running import Failure, Running, failure_of

__all__ = ["EARLIEST", "Watching", "end_of_log", "later", "notify", "watching"]

EARLIEST = notification.START_POSITION_EARLIEST
_SECONDS = 10.0

_Call: TypeAlias = (
    "grpc.aio.UnaryStreamCall[notification.WatchNotificationsRequest, notification.WatchNotificationsResponse]"
)


class Watching:
    """An open watch."""

    def __init__(self, call: _Call) -> None:
        self._call = call

    async def batch(self) -> notification.WatchNotificationsResponse:
        """Receive the next message."""
        async with asyncio.timeout(_SECONDS):
            received = await self._call.read()
        assert isinstance(received, notification.WatchNotificationsResponse), "the stream ended"
        return received

    async def take(self, count: int) -> list[notification.Notification]:
        """Receive a number of notifications."""
        taken: list[notification.Notification] = []
        while len(taken) < count:
            taken += (await self.batch()).notifications
        assert len(taken) == count
        return taken

    async def operation_ids(self, count: int) -> list[str]:
        """Receive a number of notifications; return their operation ids."""
        return [each.three_ds_operation.operation_id for each in await self.take(count)]

    def leave(self) -> None:
        """End the watch early."""
        self._call.cancel()

    async def failure(self) -> Failure:
        """Receive until the stream fails; return the error."""

        async def drained() -> None:
            while True:
                await self.batch()

        return await failure_of(drained())


@asynccontextmanager
async def watching(running: Running, **request: Any) -> AsyncIterator[Watching]:
    """Watch for the duration of the block."""
    call = running.notifications.WatchNotifications(notification.WatchNotificationsRequest(**request))
    try:
        yield Watching(call)
    finally:
        call.cancel()


async def end_of_log(running: Running, **request: Any) -> str:
    """Return the cursor of the newest notification."""
    async with watching(running, **request) as watch:
        return (await watch.batch()).cursor


def later(cursor: str, count: int) -> str:
    """Return the cursor after some more notifications."""
    log_id, _, sequence = cursor.partition("-")
    return f"{log_id}-{int(sequence) + count}"


async def notify(running: Running, *card_ids: str, **fields: Any) -> list[str]:
    """Send a notification of one operation on each card as D1; return the operation ids."""
    sent = [
        Notification(card_id, new_operation_id(), datetime.now(UTC), details=new_details(), **fields)
        for card_id in card_ids
    ]
    assert await running.sandbox.notifier.send_all(sent) == [204] * len(sent)
    return [each.operation_id for each in sent]
