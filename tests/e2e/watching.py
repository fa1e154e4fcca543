"""Watches notifications as an internal service does."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import grpc

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox.common.pki import Pki
from sandbox.gateway import credentials

__all__ = ["EARLIEST", "connect", "follow", "operation_ids", "take"]

EARLIEST = notification.WatchNotificationsRequest(position=notification.START_POSITION_EARLIEST)

_OPTIONS = (
    # A killed gateway is back within a second: keep the reconnect backoff short.
    ("grpc.initial_reconnect_backoff_ms", 50),
    # How long an attempt may take, which a busy machine needs for a handshake.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 200),
)


@asynccontextmanager
async def connect(address: str, pki: Pki) -> AsyncIterator[grpc.aio.Channel]:
    """Connect to a gateway, and reconnect quickly."""
    shown = credentials(pki.server_ca, pki.caller)
    async with grpc.aio.secure_channel(address, shown, options=_OPTIONS) as channel:
        yield channel


async def follow(channel: grpc.aio.Channel, last: str) -> list[notification.Notification]:
    """Watch from the earliest notification to the last operation, and resume at the cursor after a disconnect."""
    seen: list[notification.Notification] = []
    request = EARLIEST
    while True:
        watch = NotificationServiceStub(channel).WatchNotifications(request, wait_for_ready=True)
        try:
            async for batch in watch:
                seen += batch.notifications
                request = notification.WatchNotificationsRequest(after_cursor=batch.cursor)
                if last in operation_ids(batch.notifications):
                    return seen
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        finally:
            watch.cancel()


async def take(
    channel: grpc.aio.Channel,
    request: notification.WatchNotificationsRequest,
    enough: Callable[[list[notification.Notification]], bool],
) -> list[notification.Notification]:
    """Watch until there is enough; an earlier end of the watch is raised."""
    seen: list[notification.Notification] = []
    watch = NotificationServiceStub(channel).WatchNotifications(request, wait_for_ready=True)
    try:
        async for batch in watch:
            seen += batch.notifications
            if enough(seen):
                break
    finally:
        watch.cancel()
    return seen


def operation_ids(notifications: Iterable[notification.Notification]) -> list[str]:
    """Return the operation ids of notifications, in order."""
    return [each.three_ds_operation.operation_id for each in notifications]
