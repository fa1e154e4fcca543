"""The clients: one for asyncio, one for threads."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from contextlib import aclosing, closing
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Self

import grpc

from d1_gateway_client import _aio, _backfilling, _blocking, _watching
from d1_gateway_client._backfilling import BackfillProgress
from d1_gateway_client.contracts.issuer.card.v1 import CardServiceAsyncStub, CardServiceSyncStub
from d1_gateway_client.contracts.issuer.consumer.v1 import ConsumerServiceAsyncStub, ConsumerServiceSyncStub
from d1_gateway_client.contracts.issuer.notification.v1 import (
    BackfillNotificationsRequest,
    BackfillNotificationsResponse,
    ListSubscriptionsRequest,
    NotificationFilter,
    NotificationServiceAsyncStub,
    NotificationServiceSyncStub,
    StartPosition,
    Subscription,
)
from d1_gateway_client.contracts.issuer.threeds.v1 import (
    AuthenticationServiceAsyncStub,
    AuthenticationServiceSyncStub,
    ThreeDsOperationServiceAsyncStub,
    ThreeDsOperationServiceSyncStub,
)
from d1_gateway_client.errors import GatewayError
from d1_gateway_client.options import Options
from d1_gateway_client.watching import AsyncWatch, Watch

__all__ = [
    "AsyncGatewayClient",
    "AsyncNotifications",
    "GatewayClient",
    "Notifications",
]


_PAGE_SIZE = 1000
"""The largest size of a page of subscriptions that the contract allows."""


class _Cards(_aio.Calls, CardServiceAsyncStub):
    pass


class _Consumers(_aio.Calls, ConsumerServiceAsyncStub):
    pass


class _Authentication(_aio.Calls, AuthenticationServiceAsyncStub):
    pass


class _Operations(_aio.Calls, ThreeDsOperationServiceAsyncStub):
    pass


class AsyncNotifications(_aio.Calls, NotificationServiceAsyncStub):
    """NotificationService, with watches and backfills that reconnect by themselves, and a list without pages."""

    def watch(
        self,
        *,
        subscription: str = "",
        issuer_id: str = "",
        after_cursor: str | None = None,
        position: StartPosition | None = None,
        since: datetime | None = None,
        filter: NotificationFilter | None = None,  # noqa: A002 (the contract's word)
        max_batch_size: int = 0,
        heartbeat_seconds: float = 15.0,
    ) -> AsyncWatch:
        """Watch notifications.

        Args:
            subscription: Name under which the gateway keeps the committed cursor; empty to keep the cursor yourself.
            issuer_id: The issuer; empty if the gateway has only one.
            after_cursor: Start after this cursor. The gateway refuses this and the next two for a subscription that
                exists: it continues at its committed cursor. Call `reset_subscription` once to begin elsewhere.
            position: Start with the oldest notification kept, or with new ones only (the default).
            since: Start with notifications received at this time or later; needs a time zone.
            filter: The notifications to receive; None for all.
            max_batch_size: Maximum notifications in one message, up to 1000; 0 for the gateway's default.
            heartbeat_seconds: Interval of heartbeats, 0.1 to 300; after twice as much silence the watch reconnects.

        Raises:
            ValueError: More than one of `after_cursor`, `position` and `since` is set.
        """
        request = _watching.start(
            issuer_id=issuer_id,
            subscription=subscription,
            after_cursor=after_cursor,
            position=position,
            since=since,
            filter=filter,
            max_batch_size=max_batch_size,
            heartbeat_seconds=heartbeat_seconds,
        )
        return AsyncWatch(self._connection, request)

    async def subscriptions(self, *, issuer_id: str = "") -> AsyncIterator[Subscription]:
        """Iterate over an issuer's subscriptions by name, on however many pages they are.

        Args:
            issuer_id: The issuer; empty if the gateway has only one.

        Raises:
            GatewayError: A page cannot be read.
        """
        request = ListSubscriptionsRequest(issuer_id=issuer_id, page_size=_PAGE_SIZE)
        while True:
            page = await self.list_subscriptions(request)
            for subscription in page.subscriptions:
                yield subscription
            if not page.next_page_token:
                return
            request = replace(request, page_token=page.next_page_token)

    async def backfill(
        self, card_ids: Iterable[str], *, since: datetime, issuer_id: str = ""
    ) -> AsyncGenerator[BackfillProgress, None]:
        """Fetch what the event log lacks of the 3DS operations of any number of cards.

        Yields a `CardBackfill` for each card, and a `BackfillPause` for each pause that D1 asks for. After a lost
        connection, or when the gateway shuts down, it resumes with the cards that are left. To stop early, close it
        (``contextlib.aclosing``).

        Args:
            card_ids: The cards, by D1's card ids; repeated ones count once.
            since: The time of the oldest operations to fetch; needs a time zone.
            issuer_id: The issuer; empty if the gateway has only one.

        Raises:
            ValueError: The time has no time zone.
            GatewayError: The gateway refuses the backfill, or cannot be reached at its start. That a card failed is in
                its `CardBackfill.error`.
        """
        progress = _backfilling.Progress(card_ids, since, issuer_id, self._connection.max_attempts)
        while (request := progress.request()) is not None:
            error = None
            stream = self._unary_stream(_backfilling.ROUTE, request, BackfillNotificationsResponse)
            try:
                async with aclosing(stream):
                    async for response in stream:
                        if (news := progress.take(response)) is not None:
                            yield news
            except GatewayError as failed:
                error = failed
            await asyncio.sleep(progress.ended(request, error))


class AsyncGatewayClient:
    """The gateway, for asyncio. Create it in a running event loop, and close it.

    Attributes:
        cards: CardService.
        consumers: ConsumerService.
        authentication: AuthenticationService: 3-D Secure.
        operations: ThreeDSOperationService: the history of 3-D Secure operations.
        notifications: NotificationService, and `AsyncNotifications.watch`.

    Every method takes a request and returns its response, or raises a `GatewayError`.
    """

    def __init__(self, options: Options | None = None) -> None:
        """Create a client. It connects when it is first used.

        Args:
            options: Address and credentials. None: from the environment.

        Raises:
            ValueError: The environment is incomplete or invalid.
            OSError: A certificate or key cannot be read.
        """
        self._set(_aio.Connection(options or Options.from_environment()), None)

    def _set(self, connection: _aio.Connection, timeout_seconds: float | None) -> None:
        self._connection = connection
        self.cards = _Cards(connection, timeout_seconds)
        self.consumers = _Consumers(connection, timeout_seconds)
        self.authentication = _Authentication(connection, timeout_seconds)
        self.operations = _Operations(connection, timeout_seconds)
        self.notifications = AsyncNotifications(connection, timeout_seconds)

    def within(self, timeout_seconds: float) -> Self:
        """Return a client on the same connection with another deadline: ``client.within(2).cards.create_card(...)``."""
        other = object.__new__(type(self))
        other._set(self._connection, timeout_seconds)
        return other

    async def aclose(self) -> None:
        """Close the connection and end all calls and watches."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Notifications(NotificationServiceSyncStub):
    """NotificationService, with watches and backfills that reconnect by themselves, and a list without pages."""

    def __init__(self, connection: _blocking.Connection) -> None:
        super().__init__(connection.as_channel())
        self._connection = connection

    def watch(
        self,
        *,
        subscription: str = "",
        issuer_id: str = "",
        after_cursor: str | None = None,
        position: StartPosition | None = None,
        since: datetime | None = None,
        filter: NotificationFilter | None = None,  # noqa: A002 (the contract's word)
        max_batch_size: int = 0,
        heartbeat_seconds: float = 15.0,
    ) -> Watch:
        """Watch notifications. Arguments and errors are those of `AsyncNotifications.watch`."""
        request = _watching.start(
            issuer_id=issuer_id,
            subscription=subscription,
            after_cursor=after_cursor,
            position=position,
            since=since,
            filter=filter,
            max_batch_size=max_batch_size,
            heartbeat_seconds=heartbeat_seconds,
        )
        return Watch(self._connection, request)

    def subscriptions(self, *, issuer_id: str = "") -> Iterator[Subscription]:
        """Iterate over an issuer's subscriptions, as `AsyncNotifications.subscriptions`."""
        request = ListSubscriptionsRequest(issuer_id=issuer_id, page_size=_PAGE_SIZE)
        while True:
            page = self.list_subscriptions(request)
            yield from page.subscriptions
            if not page.next_page_token:
                return
            request = replace(request, page_token=page.next_page_token)

    def backfill(
        self, card_ids: Iterable[str], *, since: datetime, issuer_id: str = ""
    ) -> Generator[BackfillProgress, None, None]:
        """Fetch what the event log lacks of the 3DS operations of any number of cards.

        Arguments, results and errors are those of `AsyncNotifications.backfill`.
        """
        progress = _backfilling.Progress(card_ids, since, issuer_id, self._connection.max_attempts)
        opened = self._connection.unary_stream(
            _backfilling.ROUTE,
            BackfillNotificationsRequest.SerializeToString,
            BackfillNotificationsResponse.FromString,
        )
        while (request := progress.request()) is not None:
            error = None
            try:
                with closing(opened(request)) as stream:
                    for response in stream:
                        if (news := progress.take(response)) is not None:
                            yield news
            except GatewayError as failed:
                error = failed
            time.sleep(progress.ended(request, error))


class GatewayClient:
    """The gateway, for threads. Its methods are thread-safe. Close it after use.

    Attributes:
        cards: CardService.
        consumers: ConsumerService.
        authentication: AuthenticationService: 3-D Secure.
        operations: ThreeDSOperationService: the history of 3-D Secure operations.
        notifications: NotificationService, and `Notifications.watch`.

    Every method takes a request and returns its response, or raises a `GatewayError`.
    """

    def __init__(self, options: Options | None = None, *, channel: grpc.Channel | None = None) -> None:
        """Create a client. It connects when it is first used.

        Args:
            options: Address and credentials. None: from the environment.
            channel: Used instead of a channel to `Options.address`, for example one of `grpc_testing`.

        Raises:
            ValueError: The environment is incomplete or invalid.
            OSError: A certificate or key cannot be read.
        """
        options = options or Options.from_environment()
        self._set(
            _blocking.opened(options) if channel is None else _blocking.Connection(channel, options, is_own=False)
        )

    def _set(self, connection: _blocking.Connection) -> None:
        self._connection = connection
        self.cards = CardServiceSyncStub(connection.as_channel())
        self.consumers = ConsumerServiceSyncStub(connection.as_channel())
        self.authentication = AuthenticationServiceSyncStub(connection.as_channel())
        self.operations = ThreeDsOperationServiceSyncStub(connection.as_channel())
        self.notifications = Notifications(connection)

    def within(self, timeout_seconds: float) -> Self:
        """Return a client on the same connection with another deadline: ``client.within(2).cards.create_card(...)``."""
        other = object.__new__(type(self))
        other._set(self._connection.within(timeout_seconds))
        return other

    def close(self) -> None:
        """Close the connection and end all calls and watches."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
