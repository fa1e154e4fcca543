"""The connection to NATS: made again without end when it is lost; meanwhile everything fails at once.

`nats.aio.client.Client` speaks the protocol. Its own reconnecting is not used: it gives up for good after some errors,
waits long for a connection over TLS whose other end hangs, and sends late what has failed long ago. Here a client lives
as long as its connection.
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
from nats.aio.subscription import Subscription as ClientSubscription

from adapters.nats.connection.dial import BROKEN, Server, dial, discovered, hang_up
from adapters.nats.connection.errors import DisconnectedError, NatsError, NatsOpenError, RequestTimeoutError
from adapters.nats.connection.request_reply import Exchange
from gateway.settings import NatsSettings

__all__ = ["Connection", "Msg", "Subscription"]

_OPEN_SECONDS: Final = 5.0
"""How long a first connection is tried for."""
_PAUSE_SECONDS: Final = (0.25, 0.75)
"""Between two rounds of attempts: random, so that gateways do not come back all at once."""
_LOOK_SECONDS: Final = 0.25

_log = structlog.get_logger(__name__)


class Subscription:
    """Somebody who listens at a subject, over one connection after the other, until `Connection.unsubscribe`."""

    def __init__(self, subject: str, handler: Callable[[Msg], None]) -> None:
        """Use `Connection.subscribe`."""
        self.subject = subject
        """Where it listens."""
        self.client: Client | None = None
        """Over what it listens."""
        self._handler = handler
        self._current: ClientSubscription | None = None

    async def begin(self, client: Client) -> None:
        """Listen over a new connection. The `Connection`'s to call."""
        self.client = client
        self._current = await client.subscribe(self.subject, cb=self._handle)

    async def end(self) -> None:
        """Listen no longer over the present one. The `Connection`'s to call."""
        if self._current is not None:
            with suppress(*BROKEN):
                await self._current.unsubscribe()

    async def _handle(self, message: Msg) -> None:
        self._handler(message)


class Connection:
    """A connection to one of the servers, whichever that is at the moment. Belongs to one event loop."""

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
        self._keeping: asyncio.Task[None] | None = None
        self._hanging_up: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, settings: NatsSettings, tls: ssl.SSLContext | None = None) -> Self:
        """Connect. Close it with `close`.

        Args:
            settings: Where the servers are, and who we are there.
            tls: For ``tls://``: whom we trust, and our certificate.

        Raises:
            NatsOpenError: No server can be reached, or none lets us in.
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
        connection._keeping = asyncio.create_task(connection._keep())
        return connection

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as that is known yet."""
        return self._client is not None and self._client.is_connected

    @property
    def server_version(self) -> tuple[int, int]:
        """The version of the server that we are connected to, major and minor; 0, 0 while there is none."""
        if self._client is None:
            return (0, 0)
        version = self._client.connected_server_version
        return (version.major, version.minor)

    @property
    def largest_message(self) -> int:
        """How many bytes the server takes in one message, headers and all; 0 while there is none."""
        return 0 if self._client is None else self._client.max_payload

    def on_change(self, listener: Callable[[bool], None]) -> None:
        """Have somebody told of each loss of the connection (False), and of each new one (True).

        Messages that others published meanwhile have not been received: whoever counts on them has to look.
        """
        self._listeners.append(listener)

    async def subscribe(self, subject: str, handler: Callable[[Msg], None]) -> Subscription:
        """Listen at a subject, over this connection and those that follow it.

        Args:
            subject: Where; wildcards allowed.
            handler: Told each message, in order. It must not wait, and what it raises is logged and lost.
        """
        subscription = Subscription(subject, handler)
        self._subscriptions.append(subscription)
        if self._client is not None:
            # If it is just being lost, the next connection begins with all subscriptions.
            with suppress(*BROKEN):
                await subscription.begin(self._client)
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Listen no longer."""
        self._subscriptions.remove(subscription)
        await subscription.end()

    async def publish(
        self, subject: str, payload: bytes, *, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send a message, which may get lost. Does not wait for anything but its turn.

        Raises:
            DisconnectedError: There is no connection; it was not sent.
            NatsError: It is larger than the server takes.
        """
        client = self._client
        if client is None or not client.is_connected:
            raise DisconnectedError("There is no connection to NATS.")
        try:
            await client.publish(subject, payload, reply, headers)
        except nats.errors.MaxPayloadError:
            raise NatsError("The message is larger than the NATS server takes (max_payload).") from None
        except BROKEN:
            raise DisconnectedError("The connection to NATS is lost.") from None

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Msg:
        """Send a message, and return the first answer.

        Args:
            subject: Where to.
            payload: What.
            headers: What it bears besides.
            timeout_seconds: How long the answer may take; None for what the settings say.

        Raises:
            DisconnectedError: There is no connection, or it was lost before the answer came.
            NoResponderError: Nobody listens at the subject.
            RequestTimeoutError: No answer came in time.
            NatsError: It is larger than the server takes.
        """
        (answer,) = await self._exchange(subject, payload, headers, None, timeout_seconds)
        return answer

    async def gather(self, subject: str, payload: bytes, is_last: Callable[[Msg], bool]) -> Sequence[Msg]:
        """Send a message, and return all messages of the answer, the last one included. Raises as `request`."""
        return await self._exchange(subject, payload, None, is_last, None)

    async def close(self) -> None:
        """Disconnect; whoever waits for an answer gets `DisconnectedError`."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._forget_client()
        self._tell(is_connected=False)
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
        timer = self._loop.call_later(seconds, exchange.fail, RequestTimeoutError, "NATS gives no answer.")
        try:
            await self.publish(subject, payload, reply=inbox, headers=headers)
            await exchange.done
        finally:
            timer.cancel()
            del self._exchanges[inbox]
        return exchange.answer

    def _receive(self, message: Msg) -> None:
        exchange = self._exchanges.get(message.subject)
        if exchange is not None:
            exchange.receive(message)

    async def _keep(self) -> None:
        while True:
            await self._wait_for_loss()
            self._tell(is_connected=False)
            _log.warning("nats_disconnected")
            await self._connect()
            _log.info("nats_connected", server=self._server.url)
            self._tell(is_connected=True)

    async def _wait_for_loss(self) -> None:
        # It knows by itself at once, but tells only when it has closed, which can take long.
        while self.is_connected and not self._lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._lost.wait()
        self._forget_client()

    def _forget_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._discovered = [each for each in discovered(client, self._server) if each not in self._configured]
            if self._server not in self._configured:
                self._discovered.append(self._server)
            closing = asyncio.create_task(hang_up(client))
            self._hanging_up.add(closing)
            closing.add_done_callback(self._hanging_up.discard)
        for exchange in self._exchanges.values():
            exchange.fail(DisconnectedError, "The connection to NATS is lost.")

    async def _connect(self) -> None:
        while True:
            servers = [*self._configured, *self._discovered]
            random.shuffle(servers)
            for server in servers:
                is_connected = await self._connect_to(server)
                _heed_cancellation()
                if is_connected:
                    return
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311  no secret

    async def _connect_to(self, server: Server) -> bool:
        lost = asyncio.Event()
        try:
            client = await dial(server, self._settings, self._tls, lost)
            await self._begin(client)
        except Exception as error:  # noqa: BLE001  whatever it is, there are other servers, and another time
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
                    # When this is answered, the server knows them all; others may have come meanwhile.
                    await client.flush()
        except BaseException:
            await hang_up(client)
            raise

    def _tell(self, *, is_connected: bool) -> None:
        for listener in self._listeners:
            listener(is_connected)


def _heed_cancellation() -> None:
    # The client, and `asyncio.wait_for` which it uses, lose it where a failure comes at the same time.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
