"""A minimal gRPC client over HTTP/2 (RFC 9113): many server streams on few connections, or many unary calls on one.

It takes every message as bytes and parses no headers. A server stream that ends is a failure; whether a unary call
succeeded must be known from elsewhere. A general client would cost more than the measured servers.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast

__all__ = ["Call", "Message", "calls", "streams"]

Message = Callable[[int, bytes], None]
"""Called with a stream's number and a message."""

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK = _END_STREAM = 0x1
_END_HEADERS = 0x4
_INITIAL_WINDOW_SIZE: Final = 4
_FRAME_HEAD: Final = 9
_LONG: Final = 127
_MESSAGE_HEAD: Final = 5
_CONNECTION_WINDOW: Final = 2**31 - 1
_DEFAULT_WINDOW: Final = 65_535
_STREAM_WINDOW: Final = 1_048_576
"""As in grpc-java."""


class _Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, broken: "asyncio.Future[None]", *, window: int) -> None:
        self._broken = broken
        self._window = window
        self._transport: asyncio.Transport | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        settings = _INITIAL_WINDOW_SIZE.to_bytes(2) + self._window.to_bytes(4)
        self._send(_PREFACE + _frame(_SETTINGS, 0, 0, settings))
        self._send(_window_update(0, _CONNECTION_WINDOW - _DEFAULT_WINDOW))

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
        if kind == _PING and not flags & _ACK:
            self._send(_frame(_PING, _ACK, 0, bytes(body)))
        elif kind == _SETTINGS and not flags & _ACK:
            self._send(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind in (_RST_STREAM, _GOAWAY):
            self._fail(f"stream {stream_id} ended: {bytes(body[:200])!r}")
        elif kind in (_DATA, _HEADERS):
            self._take(kind, stream_id, body, is_last=bool(flags & _END_STREAM))

    def _take(self, kind: int, stream_id: int, body: memoryview, *, is_last: bool) -> None:
        raise NotImplementedError

    def _request(self, stream_id: int, head: bytes, framed: bytes) -> None:
        self._send(_frame(_HEADERS, _END_HEADERS, stream_id, head) + _frame(_DATA, _END_STREAM, stream_id, framed))

    def _send(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def _fail(self, what: str) -> None:
        if not self._broken.done():
            self._broken.set_exception(ConnectionError(what))


class _Streams(_Connection):
    """One connection and its server streams."""

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
        super().__init__(broken, window=_STREAM_WINDOW if reads else _DEFAULT_WINDOW)
        self._numbers = numbers
        self._head = head
        self._framed = request
        self._message = message
        self._reads = reads
        self._contents = [b""] * len(numbers)
        self._untold = [0] * len(numbers)
        self._untold_in_all = 0

    def begin(self) -> None:
        for place in range(len(self._numbers)):
            self._request(_stream_id(place), self._head, self._framed)

    def _take(self, kind: int, stream_id: int, body: memoryview, *, is_last: bool) -> None:
        if kind == _DATA:
            self._data((stream_id - 1) // 2, body)
        if is_last:
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


class Call:
    """A place for one unary call in flight."""

    def __init__(self, connection: "_Calls") -> None:
        """Start without a call."""
        self.on_answer: Callable[[Call], None] = lambda _: None
        """Called as soon as the call has ended."""
        self._connection = connection

    def send(self, request: bytes) -> None:
        """Make a call with a framed request; the previous one must have ended."""
        self._connection.make(self, request)


class _Calls(_Connection):
    """One connection and its unary calls."""

    def __init__(self, head: bytes, broken: "asyncio.Future[None]") -> None:
        super().__init__(broken, window=_DEFAULT_WINDOW)
        self._head = head
        self._made = 0
        self._in_flight: dict[int, Call] = {}

    def make(self, call: Call, request: bytes) -> None:
        stream_id = _stream_id(self._made)
        self._made += 1
        self._in_flight[stream_id] = call
        self._request(stream_id, self._head, request)

    def _take(self, kind: int, stream_id: int, body: memoryview, *, is_last: bool) -> None:
        del kind, body
        if is_last:
            call = self._in_flight.pop(stream_id)
            call.on_answer(call)


def _stream_id(place: int) -> int:
    return 2 * place + 1


def _frame(kind: int, flags: int, stream_id: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream_id.to_bytes(4) + body


def _window_update(stream_id: int, size: int) -> bytes:
    return _frame(_WINDOW_UPDATE, 0, stream_id, size.to_bytes(4))


def _head(authority: str, path: str, more: Mapping[str, str] | None = None) -> bytes:
    """Return the headers of a request, each as a literal without indexing (RFC 7541, section 6.2.2)."""
    headers = {
        ":method": "POST",
        ":scheme": "https",
        ":path": path,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
        **(more or {}),
    }
    return b"".join(b"\0" + _literal(name) + _literal(value) for name, value in headers.items())


def _literal(text: str) -> bytes:
    """Return a string literal with its length (RFC 7541, sections 5.1 and 5.2)."""
    length, encoded = len(text), text.encode()
    if length < _LONG:
        return bytes((length,)) + encoded
    rest = length - _LONG
    sevens = [rest]
    while sevens[-1] > _LONG:
        last = sevens.pop()
        sevens += [last % 128 + 128, last // 128]
    return bytes((_LONG, *sevens)) + encoded


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


@asynccontextmanager
async def calls(
    address: str, tls: ssl.SSLContext, *, path: str, headers: Mapping[str, str], count: int
) -> "AsyncIterator[tuple[list[Call], asyncio.Future[None]]]":
    """Open a connection for unary calls for the duration of the block.

    Args:
        address: The server's address, ``host:port``.
        tls: The client's TLS context.
        path: The rpc.
        headers: Further headers of each request.
        count: The number of calls in flight at most.

    Yields:
        A place for each call, and a future that gets an exception as soon as the connection fails.
    """
    loop = asyncio.get_running_loop()
    broken: asyncio.Future[None] = loop.create_future()
    tls.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    _, made = await loop.create_connection(
        lambda: _Calls(_head(address, path, headers), broken), host, int(port), ssl=tls
    )
    try:
        yield [Call(made) for _ in range(count)], broken
    finally:
        broken.cancel()
        made.close()
