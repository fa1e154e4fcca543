"""One of several watchers of a named subscription, as an issuer's service has them."""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox.demo.cluster.callers import until_available
from sandbox.demo.notification_sender import CARD
from sandbox.demo.stage import CALL_SECONDS, Stage

__all__ = ["Watcher"]

_SUBSCRIPTION = "ledger"
_PAUSE_SECONDS = 0.2


class Watcher:
    """Watches at one gateway, and reopens its stream when it ends."""

    def __init__(self, stage: Stage) -> None:
        """Prepare a watcher; `start` opens the stream.

        Args:
            stage: Has the gateway.
        """
        self.role = notification.WATCHER_ROLE_UNSPECIFIED
        """Its current role."""
        self.role_time = 0.0
        """The time of its last change of role, on the monotonic clock."""
        self.fencing_token = 0
        """The highest fencing token received."""
        self.operation_ids: list[str] = []
        """The operations received, in order; uncommitted ones may repeat."""
        self._stub = NotificationServiceStub(stage.channel)
        self._received: dict[str, tuple[str, int]] = {}
        """The cursor and the fencing token of each operation."""
        self._changed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start watching."""
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def becomes(self, role: "notification.WatcherRole.ValueType") -> None:
        """Wait until it has a role."""
        await self._until(lambda: self.role == role)

    async def receives(self, operation_id: str) -> None:
        """Wait until it has received an operation."""
        await self._until(lambda: operation_id in self.operation_ids)

    async def commit(self, operation_id: str) -> int:
        """Commit a received operation and all before it; return the number of retries."""
        cursor, fencing_token = self._received[operation_id]
        request = notification.CommitCursorRequest(
            subscription=_SUBSCRIPTION, cursor=cursor, fencing_token=fencing_token
        )
        _, repeats = await until_available(lambda: self._stub.CommitCursor(request, timeout=CALL_SECONDS))
        return repeats

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._watching is not None and self._watching.done():
                # The task ends by itself only with an error.
                self._watching.result()
            self._changed.clear()
            await self._changed.wait()

    async def _watch(self) -> None:
        try:
            while True:
                await until_available(self._watch_once)
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._changed.set()

    async def _watch_once(self) -> None:
        request = notification.WatchNotificationsRequest(
            subscription=_SUBSCRIPTION, filter=notification.NotificationFilter(card_ids=[CARD])
        )
        request.heartbeat_interval.FromMilliseconds(500)
        call = self._stub.WatchNotifications(request)
        try:
            async for batch in call:
                self._take(batch)
        finally:
            call.cancel()

    def _take(self, batch: notification.WatchNotificationsResponse) -> None:
        if batch.role != self.role:
            self.role, self.role_time = batch.role, time.monotonic()
        self.fencing_token = max(self.fencing_token, batch.fencing_token)
        for each in batch.notifications:
            self.operation_ids.append(each.three_ds_operation.operation_id)
            self._received[each.three_ds_operation.operation_id] = each.cursor, batch.fencing_token
        self._changed.set()
