"""A minimal HTTP/1.1 client over TLS: one request at a time on a persistent connection.

It parses no more of a response than it needs: the status, and the end, which is the end of the head with a 204 and of
``Content-Length`` bytes with a 200 (RFC 9112, section 6.3). A general client would cost more than the measured
servers.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

__all__ = ["Connection", "connections"]

_HOST = "127.0.0.1"
_NO_CONTENT = b"HTTP/1.1 204 "
_OK = b"HTTP/1.1 200 "
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, broken: "asyncio.Future[None]") -> None:
        """Start unconnected.

        Args:
            broken: Receives the exception if a response is neither 200 nor 204, or the connection closes early.
        """
        self.on_answer: Callable[[Connection], None] = lambda _: None
        """Called after a response 200 or 204."""
        self._broken = broken
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def send(self, request: bytes) -> None:
        """Send a request; the previous one must have its response."""
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        # uvloop's TLS transport lacks the base class only.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Process a part of the response."""
        self._received += data
        head, end, body = self._received.partition(_END_OF_HEAD)
        if not end:
            return
        length = _body_length(head)
        if length is None:
            self._fail(f"the server responded {head[:40]!r}")
        elif len(body) >= length:
            self._received = b""
            self.on_answer(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the disconnect."""
        self._fail(f"the server closed the connection ({exc})")

    def _fail(self, what: str) -> None:
        if not self._broken.done():
            self._broken.set_exception(ConnectionError(what))


def _body_length(head: bytes) -> int | None:
    """Return the body length of a response head; None for an unexpected response."""
    if head.startswith(_NO_CONTENT):
        return 0
    length = _LENGTH.search(head) if head.startswith(_OK) else None
    return None if length is None else int(length[1])


@asynccontextmanager
async def connections(
    port: int, count: int, tls: ssl.SSLContext
) -> "AsyncIterator[tuple[list[Connection], asyncio.Future[None]]]":
    """Open connections to a server on loopback for the duration of the block.

    Yields:
        The connections, and a future that gets an exception as soon as one of them fails.
    """
    loop = asyncio.get_running_loop()
    broken: asyncio.Future[None] = loop.create_future()
    made: list[Connection] = []
    try:
        for _ in range(count):
            _, connection = await loop.create_connection(lambda: Connection(broken), _HOST, port, ssl=tls)
            made.append(connection)
        yield made, broken
    finally:
        broken.cancel()
        for connection in made:
            connection.close()
