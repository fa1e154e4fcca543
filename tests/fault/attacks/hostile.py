"""A caller over raw HTTP/2 (RFC 9113) that does what no gRPC library does."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

__all__ = ["Connection", "connections", "message_head"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_ACK = _END_STREAM = 0x1
_END_HEADERS = 0x4
_INITIAL_WINDOW_SIZE = 4
_FRAME_HEAD = 9
_FRAME_BYTES = 16_384
_WINDOW = 65_535


class Connection(asyncio.Protocol):
    """A connection that sends only what it is told to, within the windows that the server grants."""

    def __init__(self, *, acknowledges: bool = True) -> None:
        """Prepare a connection.

        Args:
            acknowledges: Whether it acknowledges the server's settings.
        """
        self.is_closed = False
        self._acknowledges = acknowledges
        self._open: set[int] = set()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._next_id = 1
        self._window = self._initial_window = _WINDOW
        self._windows: dict[int, int] = {}
        self._unsent: dict[int, bytes] = {}

    def request(self, path: str, data: bytes = b"", *, ends: bool = False, metadata_bytes: int = 0) -> None:
        """Begin a request, and send nothing else of it.

        Args:
            path: The rpc.
            data: What is sent of its body, as the windows allow.
            ends: Whether the request ends with its headers.
            metadata_bytes: The size of further metadata.
        """
        stream, self._next_id = self._next_id, self._next_id + 2
        self._open.add(stream)
        self._send(_frame(_HEADERS, _END_STREAM if ends else 0, stream, _head(path)))
        more = _literal("x-more", "x" * metadata_bytes)
        for start in range(0, len(more), _FRAME_BYTES):
            self._send(_frame(_CONTINUATION, 0, stream, more[start : start + _FRAME_BYTES]))
        self._send(_frame(_CONTINUATION, _END_HEADERS, stream, b""))
        if data:
            self._windows[stream] = self._initial_window
            self._unsent[stream] = data
            self._send_data(stream)

    @property
    def open_streams(self) -> int:
        """The number of requests that the server has not ended."""
        return len(self._open)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send(_PREFACE + _frame(_SETTINGS, 0, 0, b""))

    def data_received(self, data: bytes) -> None:
        received, start = self._received + data, 0
        while len(received) - start >= _FRAME_HEAD:
            body = start + _FRAME_HEAD
            after = body + int.from_bytes(received[start : start + 3])
            if after > len(received):
                break
            kind, flags = received[start + 3], received[start + 4]
            self._frame(kind, flags, int.from_bytes(received[start + 5 : body]), received[body:after])
            start = after
        self._received = received[start:]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.is_closed = True

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _frame(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self._set(body)
        elif kind == _PING and not flags & _ACK:
            self._send(_frame(_PING, _ACK, 0, body))
        elif kind == _WINDOW_UPDATE:
            self._grant(stream, int.from_bytes(body))
        elif kind == _RST_STREAM or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
            self._open.discard(stream)
            self._unsent.pop(stream, None)

    def _set(self, body: bytes) -> None:
        for start in range(0, len(body), 6):
            name, value = int.from_bytes(body[start : start + 2]), int.from_bytes(body[start + 2 : start + 6])
            if name == _INITIAL_WINDOW_SIZE:
                change, self._initial_window = value - self._initial_window, value
                self._windows = {stream: window + change for stream, window in self._windows.items()}
        if self._acknowledges:
            self._send(_frame(_SETTINGS, _ACK, 0, b""))
            self._send_all()

    def _grant(self, stream: int, size: int) -> None:
        if stream == 0:
            self._window += size
            self._send_all()
        elif stream in self._windows:
            self._windows[stream] += size
            self._send_data(stream)

    def _send_all(self) -> None:
        for stream in tuple(self._unsent):
            self._send_data(stream)

    def _send_data(self, stream: int) -> None:
        while (data := self._unsent.get(stream)) and (
            size := min(len(data), self._windows[stream], self._window, _FRAME_BYTES)
        ) > 0:
            self._send(_frame(_DATA, 0, stream, data[:size]))
            self._windows[stream] -= size
            self._window -= size
            self._unsent[stream] = data[size:]
        if not self._unsent.get(stream, b"x"):
            del self._unsent[stream]

    def _send(self, frame: bytes) -> None:
        if self._transport is not None and not self.is_closed:
            self._transport.write(frame)


@asynccontextmanager
async def connections(
    address: str, count: int, tls: ssl.SSLContext | None = None, *, acknowledges: bool = True
) -> AsyncIterator[list[Connection]]:
    """Open connections for the duration of the block."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    if tls is not None:
        tls.set_alpn_protocols(["h2"])
    opened: list[Connection] = []
    try:
        for _ in range(count):
            _, made = await loop.create_connection(
                lambda: Connection(acknowledges=acknowledges), host, int(port), ssl=tls
            )
            opened.append(made)
        yield opened
    finally:
        for each in opened:
            each.close()


def message_head(size: int) -> bytes:
    """Return what announces a gRPC message of a size in bytes."""
    return bytes(1) + size.to_bytes(4)


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


def _head(path: str) -> bytes:
    headers = {
        ":method": "POST",
        ":scheme": "https",
        ":path": path,
        ":authority": "gateway",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(_literal(name, value) for name, value in headers.items())


def _literal(name: str, value: str) -> bytes:
    """A header without indexing (RFC 7541, section 6.2.2)."""
    return b"\0" + _string(name) + _string(value)


def _string(text: str) -> bytes:
    size = len(text)
    if size < 127:
        return bytes((size,)) + text.encode()
    # RFC 7541, section 5.1.
    rest, prefix = size - 127, b"\x7f"
    while rest >= 128:
        prefix += bytes((rest % 128 + 128,))
        rest //= 128
    return prefix + bytes((rest,)) + text.encode()
