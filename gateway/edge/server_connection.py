"""One connection at the edge: with the time-out that aiohttp's lacks."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, cast

from aiohttp import EMPTY_PAYLOAD, StreamReader, web
from aiohttp.typedefs import Handler
from cryptography import x509

from gateway.aio.http_server import HttpConnection
from gateway.logging.throttled import ThrottledLog
from gateway.tls.client_certificate import Certificate, read

__all__ = ["Connection", "ConnectionLog", "timed"]

_MAX_LINE_BYTES: Final = 8190
_MAX_HEADER_BYTES: Final = 8190
_MAX_HEADERS: Final = 64
# The rest of a body that nobody wants is read for so long, for the sender to get its answer (RFC 9112, section 9.6).
_LINGERING_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class ConnectionLog:
    """What all connections have to complain of."""

    slow_head: ThrottledLog = field(default_factory=lambda: ThrottledLog("request_head_timed_out"))
    no_http: ThrottledLog = field(default_factory=lambda: ThrottledLog("malformed_request_rejected"))


class Connection(HttpConnection):
    """Reads requests off a connection, and answers them in order.

    aiohttp bounds the idle time between two requests, what it reads ahead (32 requests), and the size of a head. The
    time from a head's first byte to its last is bounded here.
    """

    def __init__(
        self,
        server: web.Server,
        complaints: ConnectionLog,
        count_unread: Callable[[int], None],
        *,
        idle_timeout_seconds: float,
        head_timeout_seconds: float,
    ) -> None:
        """Prepare.

        Args:
            server: Whose connection it is.
            complaints: Where to complain.
            count_unread: Called with the status of each answer that no middleware gets to see.
            idle_timeout_seconds: How long it is kept without a request.
            head_timeout_seconds: How long the head of a request may take.
        """
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=idle_timeout_seconds,
            access_log=None,  # type: ignore[arg-type] # none is written
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            lingering_time=_LINGERING_SECONDS,
        )
        self._connection_log = complaints
        self._count_unread = count_unread
        self._head_timeout_seconds = head_timeout_seconds
        self._head_timer: asyncio.TimerHandle | None = None
        self._is_serving = False
        self._body: StreamReader = EMPTY_PAYLOAD
        self._is_lost = asyncio.Event()
        self._certificate: Certificate | None = None

    @property
    def certificate(self) -> Certificate | None:
        """The certificate that the client showed, read once for the connection; None if it showed none.

        Raises:
            ValueError: It cannot be read.
        """
        if self._certificate is None and self.transport is not None:
            shown = self.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            if shown is not None:
                self._certificate = read(x509.load_der_x509_certificate(shown))
        return self._certificate

    async def wait_lost(self) -> None:
        """Wait until it is gone."""
        await self._is_lost.wait()

    def data_received(self, data: bytes) -> None:
        """Give the head that begins here its time."""
        # aiohttp calls this itself too, with nothing, to go on with what it holds.
        if data and self._head_timer is None and not self._is_serving and self._body.is_eof():
            self._head_timer = self._loop.call_later(self._head_timeout_seconds, self._give_up)
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note that it is gone."""
        self._end_head()
        self._is_lost.set()
        super().connection_lost(exc)

    @contextmanager
    def serving(self, body: StreamReader) -> Iterator[None]:
        """To be entered when a request's head is there, and left when it is answered.

        Args:
            body: What follows, some of which may still come when the request is answered.
        """
        self._end_head()
        self._is_serving, self._body = True, body
        try:
            yield
        finally:
            self._is_serving = False

    def note_error(self, request: web.BaseRequest, status: int, error: BaseException | None) -> None:
        """Complain of what is no HTTP, and count it."""
        self._connection_log.no_http.warning(peer=request.remote, error=type(error).__name__)
        self._count_unread(status)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._connection_log.slow_head.warning(peer=self.peername[0] if self.peername else None)
        if self.transport is not None:
            self.transport.abort()


@web.middleware
async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the connection when a request is served."""
    with cast("Connection", request.protocol).serving(request.content):
        return await handler(request)
