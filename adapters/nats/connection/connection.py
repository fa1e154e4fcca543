"""The connection to NATS. It reconnects for ever; while it is lost, every call fails at once.

`nats.aio.client.Client` speaks the protocol. Its own reconnecting is not used: it gives up for good after some errors,
waits long for a TLS connection whose other end hangs, and sends late what has failed long ago. Here, each connection
has its own client.
"""

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Self

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from adapters.nats.connection.dial import BROKEN, Server, dial, discovered, hang_up
from adapters.nats.connection.errors import (
    DisconnectedError,
    NatsError,
    NatsOpenError,
    NotConnectedError,
    RequestTimeoutError,
)
from adapters.nats.connection.receivers import Exchange, Subscription
from gateway.settings import NatsSettings

__all__ = ["Connection", "Msg", "Subscription"]

_OPEN_SECONDS: Final = 5.0
"""Time for the first connection."""
_PAUSE_SECONDS: Final = (0.25, 0.75)
"""Pause between two rounds of attempts. Random, so that gateways do not all reconnect at once."""
_LOSS_CHECK_SECONDS: Final = 0.25

_log = structlog.get_logger(__name__)


class Connection:
    """A connection to one of the servers. Belongs to one event loop."""

    def __init__(self, settings: NatsSettings, tls: ssl.SSLContext | None) -> None:
        """Use `open`."""
        self._settings = settings
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._configured = [Server(url) for url in settings.servers]
        self._discovered: list[Server] = []
        self._client: Client | None = None
        self._server = self._configured[0]
        self._lost = asyncio.Event()
        self._failure = ""
        self._listeners: list[Callable[[bool], None]] = []
        self._exchanges: dict[str, Exchange] = {}
        self._exchange_count = 0
        self._inbox = Client().new_inbox()
        self._subscriptions = [Subscription(f"{self._inbox}.*", self._receive)]
        self._reconnecting: asyncio.Task[None] | None = None
        self._hanging_up: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, settings: NatsSettings, tls: ssl.SSLContext | None = None) -> Self:
        """Connect. Close it with `close`.

        Args:
            settings: Servers, credentials and timeout.
            tls: For ``tls://``: the trusted CAs and our certificate.

        Raises:
            NatsOpenError: No server is reachable, or none accepts us.
        """
        connection = cls(settings, tls)
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                await connection._connect()
        except BaseException as error:
            await connection.close()
            if isinstance(error, TimeoutError):
                raise NatsOpenError(f"No NATS server can be used ({connection._failure}).") from None
            raise
        connection._reconnecting = asyncio.create_task(connection._reconnect())
        return connection

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as known."""
        return self._client is not None and self._client.is_connected

    @property
    def server_version(self) -> tuple[int, int]:
        """Major and minor version of the connected server; 0, 0 without a connection."""
        if self._client is None:
            return (0, 0)
        version = self._client.connected_server_version
        return (version.major, version.minor)

    @property
    def max_message_bytes(self) -> int:
        """The server's maximum size of a message, including headers; 0 without a connection."""
        return 0 if self._client is None else self._client.max_payload

    def on_change(self, listener: Callable[[bool], None]) -> None:
        """Call a listener at each loss of the connection (False) and each new connection (True).

        Messages published in between are lost to subscriptions.
        """
        self._listeners.append(listener)

    async def subscribe(self, subject: str, handler: Callable[[Msg], None]) -> Subscription:
        """Subscribe to a subject, over this connection and its successors.

        Args:
            subject: The subject; wildcards allowed.
            handler: Called with each message, in order. It must not block. Its errors are logged and dropped.
        """
        subscription = Subscription(subject, handler)
        self._subscriptions.append(subscription)
        if self._client is not None:
            try:
                # If the connection is being lost, the next one begins with all subscriptions.
                with suppress(*BROKEN):
                    await subscription.begin(self._client)
            except BaseException:
                self._subscriptions.remove(subscription)
                raise
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._subscriptions.remove(subscription)
        await subscription.end()

    async def publish(
        self, subject: str, payload: bytes, *, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send a message, which may get lost. Does not wait for its delivery.

        Raises:
            NotConnectedError: There is no connection.
            DisconnectedError: It was lost meanwhile.
            NatsError: The message exceeds the server's limit.
        """
        client = self._client
        if client is None or not client.is_connected:
            raise NotConnectedError("There is no connection to NATS.")
        try:
            await client.publish(subject, payload, reply, headers)
        except nats.errors.MaxPayloadError:
            raise NatsError("The message exceeds max_payload of the NATS server.") from None
        except BROKEN:
            raise DisconnectedError("The connection to NATS was lost.") from None

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Msg:
        """Send a message, and return the first response.

        Args:
            subject: The subject.
            payload: The message's payload.
            headers: The message's headers.
            timeout_seconds: Time for the response; None for the timeout in the settings.

        Raises:
            NotConnectedError: There is no connection.
            DisconnectedError: It was lost before the response.
            NoResponderError: The subject has no subscriber.
            RequestTimeoutError: No response arrived in time.
            NatsError: The message exceeds the server's limit.
        """
        (response,) = await self._exchange(subject, payload, headers, None, timeout_seconds)
        return response

    async def gather(self, subject: str, payload: bytes, is_last: Callable[[Msg], bool]) -> Sequence[Msg]:
        """Send a message, and return all messages of the response, the last one included. Raises as `request`."""
        return await self._exchange(subject, payload, None, is_last, None)

    async def close(self) -> None:
        """Disconnect. Pending requests raise `DisconnectedError`."""
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            await asyncio.gather(self._reconnecting, return_exceptions=True)
        self._drop_client()
        self._notify(is_connected=False)
        await asyncio.gather(*self._hanging_up, return_exceptions=True)

    async def _exchange(
        self,
        subject: str,
        payload: bytes,
        headers: dict[str, str] | None,
        is_last: Callable[[Msg], bool] | None,
        timeout_seconds: float | None,
    ) -> Sequence[Msg]:
        self._exchange_count += 1
        inbox = f"{self._inbox}.{self._exchange_count}"
        exchange = self._exchanges[inbox] = Exchange(self._loop.create_future(), is_last)
        seconds = self._settings.request_timeout_seconds if timeout_seconds is None else timeout_seconds
        timer = self._loop.call_later(seconds, exchange.fail, RequestTimeoutError, "NATS did not respond in time.")
        try:
            await self.publish(subject, payload, reply=inbox, headers=headers)
            await exchange.done
        finally:
            timer.cancel()
            del self._exchanges[inbox]
        return exchange.response

    def _receive(self, message: Msg) -> None:
        exchange = self._exchanges.get(message.subject)
        if exchange is not None:
            exchange.receive(message)

    async def _reconnect(self) -> None:
        while True:
            await self._wait_for_loss()
            self._notify(is_connected=False)
            _log.warning("nats_disconnected")
            await self._connect()
            _log.info("nats_connected", server=self._server.url)
            self._notify(is_connected=True)

    async def _wait_for_loss(self) -> None:
        # The client notices a loss at once, but reports it only after closing, which can take long.
        while self.is_connected and not self._lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOSS_CHECK_SECONDS):
                    await self._lost.wait()
        self._drop_client()

    def _drop_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._discovered = [each for each in discovered(client, self._server) if each not in self._configured]
            if self._server not in self._configured:
                self._discovered.append(self._server)
            closing = asyncio.create_task(hang_up(client))
            self._hanging_up.add(closing)
            closing.add_done_callback(self._hanging_up.discard)
        for exchange in self._exchanges.values():
            exchange.fail(DisconnectedError, "The connection to NATS was lost.")

    async def _connect(self) -> None:
        while True:
            servers = [*self._configured, *self._discovered]
            random.shuffle(servers)
            for server in servers:
                is_connected = await self._connect_to(server)
                # The client, and its `asyncio.wait_for`, swallow a cancellation that coincides with a failure.
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError
                if is_connected:
                    return
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311  no secret

    async def _connect_to(self, server: Server) -> bool:
        lost = asyncio.Event()
        try:
            client = await dial(server, self._settings, self._tls, lost)
            await self._begin(client)
        except Exception as error:  # noqa: BLE001  other servers and later attempts remain
            failure, self._failure = self._failure, f"{server.url}: {str(error) or type(error).__name__}"
            if self._failure != failure:
                _log.warning("nats_not_connected", failure=self._failure)
            return False
        self._client, self._server, self._lost, self._failure = client, server, lost, ""
        return True

    async def _begin(self, client: Client) -> None:
        try:
            async with asyncio.timeout(self._settings.request_timeout_seconds):
                while missing := [each for each in self._subscriptions if each.client is not client]:
                    for subscription in missing:
                        await subscription.begin(client)
                    # The response means that the server knows them all. More may have been added meanwhile.
                    await client.flush()
        except BaseException:
            await hang_up(client)
            raise

    def _notify(self, *, is_connected: bool) -> None:
        for listener in self._listeners:
            listener(is_connected)
