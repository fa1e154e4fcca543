"""The connections to one upstream, kept open between requests."""

import asyncio
import math
import socket
import ssl
from contextlib import suppress
from typing import Any, Final, Self
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection

from adapters.http.connection import Connection, DeadlineError, ExchangeError, Fate, Response
from gateway.aio.sockets import client_socket

__all__ = ["ConnectionPool"]

_MAX_IDLE_SECONDS: Final = 15.0
"""Shorter than servers and load balancers wait, so that a request rarely meets a connection that is being closed."""
_MAX_AGE_SECONDS: Final = 300.0
"""After it a new connection is made, with the certificate and to the addresses of that time."""
_MAX_SESSION_SECONDS: Final = 3600.0
"""Time for which TLS sessions are resumed: a server's certificate that has expired is noticed within it."""
_HAPPY_EYEBALLS_DELAY_SECONDS: Final = 0.25
"""Head start of an address before the next one is tried too (RFC 8305 section 8)."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class ConnectionPool:
    """Connections to one origin; the latest used is used next, so that the others grow idle and are closed.

    Create it inside a running event loop and close it with `aclose`. The caller limits the number of concurrent
    requests, and so that of connections.
    """

    def __init__(
        self, origin: str, tls: ssl.SSLContext | None, *, connect_timeout_seconds: float, max_body_bytes: int
    ) -> None:
        """Initialise; connections are opened when needed.

        Args:
            origin: Scheme, host and port.
            tls: Trusted CAs and client certificate; None for plain HTTP.
            connect_timeout_seconds: Time limit of a connection, TLS included.
            max_body_bytes: Limit of a response's body.
        """
        parts = urlsplit(origin)
        self.host_header = parts.netloc
        """Value of the header Host."""
        self._host = parts.hostname or ""
        self._port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self._tls = _ResumingContext(tls) if tls is not None and parts.scheme == "https" else None
        self._connect_timeout_seconds = connect_timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._cleanup: asyncio.TimerHandle | None = None
        self._all_lost = asyncio.Event()
        self._is_closed = False

    async def aclose(self) -> None:
        """Close all connections, and those being made once they are there; later requests fail without one."""
        self._is_closed = True
        if self._cleanup is not None:
            self._cleanup.cancel()
        self._all_lost.clear()
        for connection in self._connections:
            connection.transport.abort()
        if self._connections:
            await self._all_lost.wait()

    async def exchange(
        self, request: bytes, deadline: float, *, head_timeout_seconds: float = math.inf, is_head: bool = False
    ) -> Response:
        """Send a request and read its response. It is written to one connection only.

        Args:
            request: The whole request.
            deadline: When to give up, in seconds of the event loop's clock.
            head_timeout_seconds: Time limit of the wait for the response's head, from the request on.
            is_head: Whether the request's method is HEAD.

        Raises:
            ExchangeError: It did not complete.
            MalformedResponseError: It did not complete.
        """
        connection = self._take() or await self._connect(deadline)
        try:
            head_deadline = self._loop.time() + head_timeout_seconds
            return await connection.exchange(request, deadline, head_deadline=head_deadline, is_head=is_head)
        finally:
            self._give_back(connection)

    def _take(self) -> Connection | None:
        now = self._loop.time()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable and not self._is_stale(connection, now) and connection.is_alive():
                return connection
            connection.transport.abort()
        return None

    def _give_back(self, connection: Connection) -> None:
        if not connection.is_reusable:
            connection.transport.abort()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._cleanup is None:
            self._cleanup = self._loop.call_later(_MAX_IDLE_SECONDS, self._clean_up)

    def _clean_up(self) -> None:
        # Those that have been idle longest come first.
        now, self._cleanup = self._loop.time(), None
        for connection in [each for each in self._idle if self._is_stale(each, now)]:
            self._idle.remove(connection)
            connection.transport.close()
        if self._idle:
            self._cleanup = self._loop.call_later(_MAX_IDLE_SECONDS, self._clean_up)

    def _is_stale(self, connection: Connection, now: float) -> bool:
        return now - connection.idle_since >= _MAX_IDLE_SECONDS or now - connection.opened >= _MAX_AGE_SECONDS

    async def _connect(self, deadline: float) -> Connection:
        if self._is_closed:
            raise ExchangeError(Fate.NOT_CONNECTED)
        limit = self._loop.time() + self._connect_timeout_seconds
        try:
            async with asyncio.timeout_at(min(deadline, limit)) as timer:
                return await self._open()
        except OSError as fault:
            if self._tls is not None:
                # A session that the server cannot resume must not fail every connection.
                self._tls.forget()
            is_late = timer.expired() and deadline <= limit
            error = ExchangeError(Fate.NOT_CONNECTED, DeadlineError() if is_late else fault)
        raise error

    async def _open(self) -> Connection:
        addresses = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        connected = await start_connection(
            addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY_SECONDS, interleave=1, socket_factory=client_socket
        )
        connection = Connection(self._loop, connected, self._max_body_bytes, on_open=self._opened, on_lost=self._lost)
        try:
            await self._loop.create_connection(
                lambda: connection,
                sock=connected,
                ssl=None if self._tls is None else self._tls.at(self._loop.time()),
                server_hostname=None if self._tls is None else self._host,
            )
        except BaseException:
            if connection in self._connections:
                # Cancelled as it opened: uvloop closes its transport without calling `connection_lost`.
                connection.transport.abort()
                self._lost(connection)
            raise
        if self._tls is not None:
            self._tls.note(connection.transport.get_extra_info("ssl_object"), self._loop.time())
        return connection

    def _opened(self, connection: Connection) -> None:
        self._connections.add(connection)
        if self._is_closed:
            connection.transport.abort()

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        if not self._connections:
            self._all_lost.set()


class _ResumingContext(ssl.SSLContext):
    """A context whose connections resume the session of the latest full handshake (RFC 8446 section 2.2).

    A session belongs to the context that it was made with, so none outlives a change of certificates. Resumption does
    not look at the server's certificate again, so a session has an end.
    """

    def __new__(cls, _context: ssl.SSLContext) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._latest: ssl.SSLObject | None = None
        self._end = 0.0

    def at(self, now: float) -> Self:
        """Return the context for a connection at this time, in seconds of any monotonic clock."""
        if now >= self._end:
            self.forget()
        return self

    def note(self, connection: ssl.SSLObject, now: float) -> None:
        """Note a connection whose handshake is complete. Its session comes with its first response."""
        if not connection.session_reused:
            self._latest, self._end = connection, now + _MAX_SESSION_SECONDS

    def forget(self) -> None:
        """Let the next connection begin with a full handshake."""
        self._latest = None

    def wrap_bio(self, *arguments: Any, **keywords: Any) -> ssl.SSLObject:
        """See `ssl.SSLContext`; asyncio and uvloop create connections with it."""
        connection = self._context.wrap_bio(*arguments, **keywords)
        session = None if self._latest is None else self._latest.session
        if session is not None:
            with suppress(ValueError):
                connection.session = session
        return connection
