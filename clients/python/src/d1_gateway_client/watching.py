"""Watches: notifications one by one, across broken connections, restarts and deployments of the gateway."""

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import grpc

from d1_gateway_client import _aio, _blocking
from d1_gateway_client._watching import ROUTE, Progress
from d1_gateway_client.contracts.issuer.notification.v1 import (
    CommitCursorRequest,
    CommitCursorResponse,
    Notification,
    WatcherRole,
    WatchNotificationsRequest,
    WatchNotificationsResponse,
)

__all__ = ["AsyncWatch", "Watch"]

_COMMIT = "/issuer.notification.v1.NotificationService/CommitCursor"


class AsyncWatch:
    """An endless stream of notifications, oldest first: ``async for notification in watch``.

    The watch reconnects by itself and resumes where it was: each notification arrives once, in order. Use it as a
    context manager, or close it.

    Raises:
        GatewayError: During iteration, if reconnecting does not help, for example `CursorExpiredError`.
    """

    def __init__(self, connection: _aio.Connection, request: WatchNotificationsRequest) -> None:
        self._connection = connection
        self._replacement: _aio.Connection | None = None
        """Replaces a dead connection."""
        self._progress = Progress(request)
        self._stream: _aio.Stream | None = None
        self._closed = asyncio.Event()

    @property
    def cursor(self) -> str:
        """Where to resume after what was received, for another watch's ``after_cursor``; empty before the start."""
        return self._progress.cursor

    @property
    def role(self) -> WatcherRole:
        """Whether the watch is active, or stands by for another watcher of its subscription."""
        return self._progress.role

    @property
    def fencing_token(self) -> int:
        """The fencing token, which grows with each take-over of the subscription; 0 before the start, or without one.

        Store it with the result of a notification, and refuse to overwrite a result with a larger one. Then a watcher
        that was paused, and does not know that another one is active, does no harm.
        """
        return self._progress.fencing_token

    async def commit(self, notification: Notification | None = None) -> None:
        """Commit a notification and all before it; without one, all received so far.

        Raises:
            GatewayError: The commit failed. Nothing is lost; commit again. With the reason FENCING_TOKEN_STALE, the
                subscription was reset after these notifications were received: do not, they may come again.
            ValueError: The watch has no subscription, or nothing was received yet.
        """
        request = self._progress.commit(notification)
        await (self._replacement or self._connection).unary(_COMMIT, request, CommitCursorResponse)
        self._progress.committed(notification)

    async def aclose(self) -> None:
        """Stop. The iteration ends."""
        self._closed.set()
        self._drop()
        await self._close_replacement()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notification:
        while not self._closed.is_set():
            if (notification := self._progress.next()) is not None:
                return notification
            await self._receive()
        raise StopAsyncIteration

    async def _receive(self) -> None:
        error = None
        try:
            if self._stream is None:
                self._stream = await (self._replacement or self._connection).server_stream(
                    ROUTE, self._progress.request(), WatchNotificationsResponse
                )
            async with asyncio.timeout(self._progress.silence_seconds):
                response = await self._stream.read()
            if isinstance(response, WatchNotificationsResponse):
                self._progress.take(response)
                return
        except grpc.aio.AioRpcError as failed:
            error = _aio.failure(failed)
        except TimeoutError:
            await self._close_replacement()
            self._replacement = self._connection.another()
        except asyncio.CancelledError:
            self._drop()
            if self._closed.is_set() and not _is_being_cancelled():
                return
            raise
        self._drop()
        await self._pause(self._progress.interrupted(error))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            pass

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None

    async def _close_replacement(self) -> None:
        if self._replacement is not None:
            await self._replacement.close()


class Watch:
    """The blocking counterpart of `AsyncWatch`: ``for notification in watch``.

    `close` may be called from another thread.
    """

    def __init__(self, connection: _blocking.Connection, request: WatchNotificationsRequest) -> None:
        self._connection = connection
        self._replacement: _blocking.Connection | None = None
        """Replaces a dead connection."""
        self._progress = Progress(request)
        self._stream: Any = None
        self._closed = threading.Event()

    @property
    def cursor(self) -> str:
        """Where to resume after what was received, for another watch's ``after_cursor``; empty before the start."""
        return self._progress.cursor

    @property
    def role(self) -> WatcherRole:
        """Whether the watch is active, or stands by for another watcher of its subscription."""
        return self._progress.role

    @property
    def fencing_token(self) -> int:
        """The fencing token, which grows with each take-over of the subscription; 0 before the start, or without one.

        Store it with the result of a notification, and refuse to overwrite a result with a larger one. Then a watcher
        that was paused, and does not know that another one is active, does no harm.
        """
        return self._progress.fencing_token

    def commit(self, notification: Notification | None = None) -> None:
        """Commit a notification and all before it; without one, all received so far.

        Raises:
            GatewayError: The commit failed. Nothing is lost; commit again. With the reason FENCING_TOKEN_STALE, the
                subscription was reset after these notifications were received: do not, they may come again.
            ValueError: The watch has no subscription, or nothing was received yet.
        """
        request = self._progress.commit(notification)
        connection = self._replacement or self._connection
        connection.unary_unary(_COMMIT, CommitCursorRequest.SerializeToString, CommitCursorResponse.FromString)(request)
        self._progress.committed(notification)

    def close(self) -> None:
        """Stop. The iteration ends."""
        self._closed.set()
        self._cancel()
        self._close_replacement()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Notification:
        while not self._closed.is_set():
            if (notification := self._progress.next()) is not None:
                return notification
            self._receive()
        raise StopIteration

    def _receive(self) -> None:
        error = None
        if self._stream is None:
            self._stream = (self._replacement or self._connection).open(
                ROUTE,
                WatchNotificationsRequest.SerializeToString,
                WatchNotificationsResponse.FromString,
                self._progress.request(),
            )
        watchdog = _Watchdog(self._progress.silence_seconds, self._cancel)
        try:
            with watchdog:
                response = next(self._stream, None)
            if response is not None:
                self._progress.take(response)
                return
        except grpc.RpcError as failed:
            error = _blocking.failure(failed)
        self._cancel()
        self._stream = None
        if self._closed.is_set():
            return
        if watchdog.has_fired:
            self._close_replacement()
            self._replacement = self._connection.another()
        self._closed.wait(self._progress.interrupted(None if watchdog.has_fired else error))

    def _close_replacement(self) -> None:
        if self._replacement is not None:
            self._replacement.close()

    def _cancel(self) -> None:
        if (stream := self._stream) is not None:
            stream.cancel()


class _Watchdog:
    """Runs an action if a block takes too long."""

    def __init__(self, seconds: float, action: Callable[[], None]) -> None:
        self.has_fired = False
        self._action = action
        self._timer = threading.Timer(seconds, self._fire)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def _fire(self) -> None:
        self.has_fired = True
        self._action()


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
