"""One connection at the edge, with the time limit for request heads that aiohttp lacks."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, cast

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.typedefs import Handler
from cryptography import x509

from gateway.aio.http_server import HttpConnection
from gateway.edge.connection_refusals import Refusal, Refusals
from gateway.edge.responses import CallerGoneError
from gateway.logging.throttled import ThrottledLog
from gateway.tls.client_certificate import Certificate, read

__all__ = ["Connection", "is_caller_gone", "timed", "while_connected"]

_T = TypeVar("_T")

_MAX_LINE_BYTES: Final = 8190
_MAX_HEADER_BYTES: Final = 8190
_MAX_HEADERS: Final = 64
# How long the rest of an unwanted body is read, so that the sender gets its response (RFC 9112, section 9.6).
_LINGERING_SECONDS: Final = 2.0


class Connection(HttpConnection):
    """Reads requests from a connection and responds in order.

    aiohttp limits the idle time between two requests, read-ahead (32 requests) and the size of a head. This class
    limits the time from a head's first byte to its last.
    """

    def __init__(
        self,
        server: web.Server,
        refusals: Refusals,
        malformed: ThrottledLog,
        count_unread: Callable[[int], None],
        *,
        idle_timeout_seconds: float,
        head_timeout_seconds: float,
    ) -> None:
        """Initialise.

        Args:
            server: The server that the connection belongs to.
            refusals: Told if the connection is ended because a head takes too long.
            malformed: Log of malformed requests, shared by all connections.
            count_unread: Called with the status of each response that bypasses the middlewares.
            idle_timeout_seconds: How long the connection stays open without a request.
            head_timeout_seconds: Time limit for a request's head.
        """
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=idle_timeout_seconds,
            access_log=None,  # type: ignore[arg-type] # aiohttp's way to disable it
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            lingering_time=_LINGERING_SECONDS,
        )
        self._refusals = refusals
        self._malformed = malformed
        self._count_unread = count_unread
        self._head_timeout_seconds = head_timeout_seconds
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_serving = False
        self._body: StreamReader = EMPTY_PAYLOAD
        self._is_lost = asyncio.Event()
        self._abandonable: set[asyncio.Timeout] = set()
        self._certificate: Certificate | None = None

    @property
    def certificate(self) -> Certificate | None:
        """The client's certificate, parsed once for each connection; None if the client presented none.

        Raises:
            ValueError: It cannot be parsed.
        """
        if self._certificate is None and self.transport is not None:
            encoded = self.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            if encoded is not None:
                self._certificate = read(x509.load_der_x509_certificate(encoded))
        return self._certificate

    @property
    def is_lost(self) -> bool:
        """Whether the connection is lost, so that no response reaches the client."""
        return self._is_lost.is_set()

    async def wait_lost(self) -> None:
        """Wait until the connection is lost."""
        await self._is_lost.wait()

    def data_received(self, data: bytes) -> None:
        """Start the timer of a head that begins here and does not end here."""
        # aiohttp itself calls this with no data to continue with what it has buffered.
        is_head = data and self._head_timer is None and not self._is_serving and self._body.is_eof()
        super().data_received(data)
        if is_head and not self._messages:
            self._head_timer = self._loop.call_later(self._head_timeout_seconds, self._end_slow_head)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the timer, release `wait_lost`, and cancel the work of `while_open`.

        A client that closes only its side of the connection is gone too. TLS 1.3 would let the gateway send on (RFC
        8446, section 6.1), but Python's TLS closes both sides on a closure alert or on the end of the stream. HTTP asks
        for no more: to it, a client's closure alert begins the end of the connection (RFC 9112, section 9.8).
        """
        self._end_head()
        self._is_lost.set()
        for abandonable in self._abandonable:
            abandonable.reschedule(self._loop.time())
        super().connection_lost(exc)

    async def while_open(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do some work; cancel it as soon as the connection is lost.

        Raises:
            CallerGoneError: The connection is lost; if it was before, the work was not begun.
        """
        if self.is_lost:
            raise CallerGoneError
        try:
            async with asyncio.timeout(None) as abandonable:
                self._abandonable.add(abandonable)
                try:
                    return await work()
                finally:
                    self._abandonable.discard(abandonable)
        except TimeoutError:
            if abandonable.expired():
                raise CallerGoneError from None
            raise

    def begin_serving(self, body: StreamReader) -> None:
        """Note that a request's head is complete.

        Args:
            body: The request's body, part of which may still arrive after the response.
        """
        self._end_head()
        self._is_serving, self._body = True, body

    def end_serving(self) -> None:
        """Note that the request's response is made."""
        self._is_serving = False

    def note_error(self, request: web.BaseRequest, status: int, error: BaseException | None) -> None:
        """Log and count a malformed request."""
        self._malformed.warning(peer=request.remote, error=type(error).__name__)
        self._count_unread(status)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_slow_head(self) -> None:
        self._refusals.report(Refusal.HEAD, self.peername[0] if self.peername else None)
        self.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        if self.transport is not None:
            self.transport.abort()


def is_caller_gone(request: web.Request) -> bool:
    """Return whether the client hung up, so that it gets no response."""
    return cast("Connection", request.protocol).is_lost


async def while_connected(request: web.Request, work: Callable[[], Awaitable[_T]]) -> _T:
    """Do some work; cancel it as soon as the client hangs up. Only for what may be left undone.

    Raises:
        CallerGoneError: The client has hung up.
    """
    return await cast("Connection", request.protocol).while_open(work)


@web.middleware
async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Mark the request as being served, on its connection."""
    connection = cast("Connection", request.protocol)
    connection.begin_serving(request.content)
    try:
        return await handler(request)
    finally:
        connection.end_serving()
