"""A minimal client that opens many gRPC server streams on few HTTP/2 connections (RFC 9113).

It takes every message as bytes and parses no headers: what precedes the messages does not matter here, and a stream
that ends is a failure. A general client would cost more than the measured servers.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast

__all__ = ["Message", "streams"]

Message = Callable[[int, bytes], None]
"""Called with a stream's number and a message."""

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 0x1
_END_HEADERS = 0x4
_INITIAL_WINDOW_SIZE: Final = 4
_FRAME_HEAD: Final = 9
_MESSAGE_HEAD: Final = 5
_CONNECTION_WINDOW: Final = 2**31 - 1
_DEFAULT_WINDOW: Final = 65_535
_STREAM_WINDOW: Final = 1_048_576
"""As in grpc-java."""


class _Streams(asyncio.Protocol):
    """One connection and its streams."""

    def __init__(
        self,
        numbers: Sequence[int],
        head: bytes,
        request: bytes,
        message: Message,
        broken: "asyncio.Future[None]",
        *,
        reads: bool,
    ) -> None:
        self._numbers = numbers
        self._head = head
        self._request = request
        self._message = message
        self._broken = broken
        self._reads = reads
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._contents = [b""] * len(numbers)
        self._untold = [0] * len(numbers)
        self._untold_in_all = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        window = _STREAM_WINDOW if self._reads else _DEFAULT_WINDOW
        settings = _INITIAL_WINDOW_SIZE.to_bytes(2) + window.to_bytes(4)
        self._send(_PREFACE + _frame(_SETTINGS, 0, 0, settings))
        self._send(_window_update(0, _CONNECTION_WINDOW - _DEFAULT_WINDOW))

    def begin(self) -> None:
        for place in range(len(self._numbers)):
            stream_id = _stream_id(place)
            self._send(_frame(_HEADERS, _END_HEADERS, stream_id, self._head))
            self._send(_frame(_DATA, _END_STREAM, stream_id, self._request))

    def data_received(self, data: bytes) -> None:
        received = self._rest + data if self._rest else data
        # A memory view avoids copies.
        view = memoryview(received)
        start, end = 0, len(received)
        while end - start >= _FRAME_HEAD:
            body = start + _FRAME_HEAD
            after = body + int.from_bytes(view[start : start + 3])
            if after > end:
                break
            self._frame(view[start:body], view[body:after])
            start = after
        self._rest = received[start:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the server closed the connection ({exc})")

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _frame(self, head: memoryview, body: memoryview) -> None:
        kind, flags, stream_id = head[3], head[4], int.from_bytes(head[5:])
        if kind == _DATA:
            self._data((stream_id - 1) // 2, body)
        elif kind == _PING and not flags & _ACK:
            self._send(_frame(_PING, _ACK, 0, bytes(body)))
        elif kind == _SETTINGS and not flags & _ACK:
            self._send(_frame(_SETTINGS, _ACK, 0, b""))
        if kind in (_RST_STREAM, _GOAWAY) or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            self._fail(f"stream {stream_id} ended: {bytes(body[:200])!r}")

    def _data(self, place: int, data: memoryview) -> None:
        self._replenish(place, len(data))
        content = self._contents[place] + data
        start, end = 0, len(content)
        while end - start >= _MESSAGE_HEAD:
            first = start + _MESSAGE_HEAD
            after = first + int.from_bytes(content[start + 1 : first])
            if after > end:
                break
            self._message(self._numbers[place], content[first:after])
            start = after
        self._contents[place] = content[start:]

    def _replenish(self, place: int, taken: int) -> None:
        if not self._reads:
            return
        self._untold[place] += taken
        self._untold_in_all += taken
        if self._untold[place] > _STREAM_WINDOW // 2:
            self._send(_window_update(_stream_id(place), self._untold[place]))
            self._untold[place] = 0
        if self._untold_in_all > _CONNECTION_WINDOW // 2:
            self._send(_window_update(0, self._untold_in_all))
            self._untold_in_all = 0

    def _send(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def _fail(self, what: str) -> None:
        if not self._broken.done():
            self._broken.set_exception(ConnectionError(what))


def _stream_id(place: int) -> int:
    return 2 * place + 1


def _frame(kind: int, flags: int, stream_id: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream_id.to_bytes(4) + body


def _window_update(stream_id: int, size: int) -> bytes:
    return _frame(_WINDOW_UPDATE, 0, stream_id, size.to_bytes(4))


def _head(authority: str, path: str) -> bytes:
    """Return the headers of a request, each as a literal without indexing (RFC 7541, section 6.2.2)."""
    headers = {
        ":method": "POST",
        ":scheme": "https",
        ":path": path,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(
        b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
        for name, value in headers.items()
    )


@asynccontextmanager
async def streams(
    address: str,
    tls: ssl.SSLContext,
    *,
    path: str,
    request: bytes,
    count: int,
    connections: int,
    message: Message,
    reads: bool = True,
) -> "AsyncIterator[tuple[int, asyncio.Future[None]]]":
    """Open streams for the duration of the block, all at once after every connection is established.

    Args:
        address: The server's address, ``host:port``.
        tls: The client's TLS context.
        path: The rpc, for example ``/package.Service/Rpc``.
        request: The serialised request.
        count: The number of streams.
        connections: The number of connections.
        message: Receives each message with the number of its stream, from 0 on.
        reads: Whether the streams keep reading. If not, the server can send 64 KiB and no more.

    Yields:
        When the streams were opened, by `time.monotonic_ns`, and a future that gets an exception as soon as one ends.
    """
    loop = asyncio.get_running_loop()
    broken: asyncio.Future[None] = loop.create_future()
    tls.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    head, framed = _head(address, path), bytes(1) + len(request).to_bytes(4) + request
    made: list[_Streams] = []
    try:
        for number in range(connections):
            numbers = range(number, count, connections)
            _, opened = await loop.create_connection(
                lambda numbers=numbers: _Streams(numbers, head, framed, message, broken, reads=reads),  # type: ignore[misc]
                host,
                int(port),
                ssl=tls,
            )
            made.append(opened)
        began_ns = time.monotonic_ns()
        for each in made:
            each.begin()
        yield began_ns, broken
    finally:
        broken.cancel()
        for each in made:
            each.close()
