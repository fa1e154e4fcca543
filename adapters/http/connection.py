"""One HTTP/1.1 connection to an upstream (RFC 9112): one request at a time, and what became of it."""

import asyncio
import enum
import math
import select
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from httptools import HttpParserError, HttpResponseParser

__all__ = [
    "Connection",
    "DeadlineError",
    "ExchangeError",
    "Fate",
    "MalformedResponseError",
    "Response",
    "encode_request",
]

_MAX_HEAD_BYTES: Final = 65_536
_MAX_HEADERS: Final = 200
_BODILESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
"""Statuses whose responses end with the head, whatever its headers say (RFC 9112 section 6.3)."""
_METHODS_WITH_BODY: Final = frozenset({"PATCH", "POST", "PUT"})
"""Methods whose requests state a length even without a body (RFC 9110 section 8.6)."""
_OF_INTEREST: Final = frozenset({b"content-length", b"content-type", b"retry-after", b"transfer-encoding"})


class Fate(enum.Enum):
    """How far an exchange came that did not complete."""

    NOT_CONNECTED = enum.auto()
    """There was no connection."""
    NOT_WRITTEN = enum.auto()
    """No byte was written: the connection was gone, or the deadline had passed."""
    NO_RESPONSE = enum.auto()
    """The request was written, and no byte came back."""
    BROKEN_RESPONSE = enum.auto()
    """Part of a response came."""

    @property
    def sent(self) -> bool:
        """Whether the request may have reached the upstream."""
        return self in (Fate.NO_RESPONSE, Fate.BROKEN_RESPONSE)


class DeadlineError(TimeoutError):
    """The deadline of an exchange has passed, rather than a shorter time limit."""


class ExchangeError(Exception):
    """An exchange did not complete."""

    def __init__(self, fate: Fate, fault: BaseException | None = None, *, has_served: bool = False) -> None:
        """Initialise.

        Args:
            fate: How far it came.
            fault: What ended it, as the operating system or TLS says it; a `DeadlineError`, or a `TimeoutError` for the
                limit of a connection or a head; None if the upstream closed the connection.
            has_served: Whether anything had come over the connection, in this exchange or before.
        """
        super().__init__(fate, fault)
        self.fate = fate
        self.fault = fault
        self.has_served = has_served


class MalformedResponseError(ExchangeError):
    """What came back is no HTTP response, or one beyond the limits."""

    def __init__(self, too_large_status: int = 0) -> None:
        """Initialise with the status of a response whose body is too large; 0 for anything else."""
        super().__init__(Fate.BROKEN_RESPONSE, has_served=True)
        self.too_large_status = too_large_status


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response."""

    status: int
    retry_after: str
    """The header Retry-After as received; empty if absent."""
    content_type: str
    """The header Content-Type as received; empty if absent."""
    body: bytes = field(repr=False)


def encode_request(method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Encode a request (RFC 9112 section 3).

    Args:
        method: The method.
        path: Percent-encoded path and query, sent as they are.
        headers: All headers, ``Host`` included, but for ``Content-Length``.
        body: The body; None for none.

    Raises:
        ValueError: Method, path or a header holds a character that would end it.
    """
    lines = [f"{method} {path} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
    if body is not None or method in _METHODS_WITH_BODY:
        lines.append(f"Content-Length: {len(body or b'')}")
    head = "\r\n".join(lines)
    breaks = len(lines) - 1
    is_one_line_each = head.count("\r") == head.count("\n") == breaks and "\0" not in head
    if not is_one_line_each or lines[0].count(" ") != 2:  # noqa: PLR2004  between the parts of the request line
        raise ValueError("The request has a line break or space where none may be.")
    return b"%b\r\n\r\n%b" % (head.encode("ascii"), body or b"")


class _TooLargeError(Exception):
    """The body is too large."""


class _InvalidError(Exception):
    """The response contradicts itself, or its head is too large."""


class _ResponseReader:
    """Collects the response to one request from the parser's callbacks."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._parser = HttpResponseParser(self)
        self._status = 0
        self.start(is_head=False)

    def start(self, *, is_head: bool) -> None:
        """Start with the next response; `is_head` says whether it answers a HEAD."""
        self._is_head = is_head
        self._headers: dict[bytes, bytes] = {}
        self._header_count = self._header_bytes = 0
        self._unread_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self.has_head = False
        self.is_complete = False
        self.ends_with_connection = False
        """Whether the body lasts until the connection is closed."""
        self.is_reusable = False
        """Whether the connection may serve another request."""

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            MalformedResponseError: It is no response, or beyond the limits.
        """
        body_bytes = self._body_bytes
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            if self.is_complete and self._is_bodiless():
                # The parser follows headers that promise a body. The end of the head is the end of the response.
                self.is_reusable = False
                return
            raise MalformedResponseError(self._status if isinstance(error.__context__, _TooLargeError) else 0) from None
        if self.is_complete or self._body_bytes > body_bytes:
            self._unread_bytes = 0
        else:
            # A head, a chunk's extension or a trailer: the parser holds a header until its end.
            self._unread_bytes += len(data)
            if self._unread_bytes > _MAX_HEAD_BYTES:
                raise MalformedResponseError

    def response(self) -> Response:
        """Return the complete response."""
        return Response(
            self._status,
            self._headers.get(b"retry-after", b"").strip().decode("latin-1"),
            self._headers.get(b"content-type", b"").strip().decode("latin-1"),
            self._body[0] if len(self._body) == 1 else b"".join(self._body),
        )

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise _InvalidError

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._header_bytes += len(name) + len(value)
        if self._header_count > _MAX_HEADERS or self._header_bytes > _MAX_HEAD_BYTES:
            raise _InvalidError
        lower = name.lower()
        if lower in _OF_INTEREST and not self.has_head:
            self._headers[lower] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < HTTPStatus.OK:
            if status < HTTPStatus.CONTINUE or status == HTTPStatus.SWITCHING_PROTOCOLS:
                raise _InvalidError
            return
        self._status = status
        self.has_head = True
        is_chunked, has_length = b"transfer-encoding" in self._headers, b"content-length" in self._headers
        if self._is_bodiless():
            promises_body = is_chunked or self._headers.get(b"content-length", b"0") != b"0"
            if promises_body or self._is_head:
                self.is_complete = True
                raise _InvalidError
        elif is_chunked and has_length:
            raise _InvalidError
        else:
            self.ends_with_connection = not is_chunked and not has_length

    def on_body(self, part: bytes) -> None:
        self._body_bytes += len(part)
        if self._body_bytes > self._max_body_bytes:
            raise _TooLargeError
        self._body.append(part)

    def on_message_complete(self) -> None:
        if self.has_head:
            self.is_complete = True
            self.is_reusable = self._parser.should_keep_alive()
        else:
            # An interim response (1xx): the final one follows.
            self._headers.clear()

    def _is_bodiless(self) -> bool:
        return self.has_head and (self._is_head or self._status in _BODILESS)


class Connection(asyncio.Protocol):
    """A connection, once its transport is connected."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        max_body_bytes: int,
        on_open: Callable[["Connection"], None],
        on_lost: Callable[["Connection"], None],
    ) -> None:
        """Initialise; `on_open` is called when the connection is ready for use, `on_lost` when it is gone."""
        self._loop = loop
        self._arrivals = select.poll()
        self._arrivals.register(sock, select.POLLIN)
        self._on_open = on_open
        self._on_lost = on_lost
        self._reader = _ResponseReader(max_body_bytes)
        self._waiter: asyncio.Future[Response] | None = None
        self._has_received = self._has_served = False
        self.transport: asyncio.Transport
        self.opened = self.idle_since = loop.time()

    @property
    def is_reusable(self) -> bool:
        """Whether another request may be sent, as far as the event loop knows."""
        return self._waiter is None and self._reader.is_reusable and not self.transport.is_closing()

    def is_alive(self) -> bool:
        """Return whether nothing came while it was idle: neither its end nor a byte that nobody asked for.

        Call only if `is_reusable`: the file descriptor of a closed connection may belong to another one.
        """
        return not self._arrivals.poll(0)

    async def exchange(
        self, request: bytes, deadline: float, *, head_deadline: float = math.inf, is_head: bool = False
    ) -> Response:
        """Send a request and read its response. Cancelling it closes the connection.

        Args:
            request: The whole request.
            deadline: When to give up, in seconds of the event loop's clock.
            head_deadline: When to give up if the response's head is not complete.
            is_head: Whether the request's method is HEAD.

        Raises:
            ExchangeError: It did not complete.
            MalformedResponseError: It did not complete.
        """
        if self.transport.is_closing():
            raise ExchangeError(Fate.NOT_WRITTEN)
        if deadline <= self._loop.time():
            raise ExchangeError(Fate.NOT_WRITTEN, DeadlineError())
        self._has_received = False
        self._reader.start(is_head=is_head)
        waiter: asyncio.Future[Response] = self._loop.create_future()
        self._waiter = waiter
        self._deadline = deadline
        if head_deadline < deadline:
            self._timer = self._loop.call_at(head_deadline, self._miss_head)
        else:
            self._timer = self._loop.call_at(deadline, self._miss_deadline)
        self.transport.write(request)
        try:
            return await waiter
        except BaseException:
            self.transport.abort()
            raise
        finally:
            self._timer.cancel()
            self._waiter = None
            # Its exception refers to this frame: a cycle.
            del waiter

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = transport  # type: ignore[assignment]  # a transport that reads and writes
        self._on_open(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._waiter is None or self._waiter.done():
            self.transport.abort()
            return
        self._has_received = self._has_served = True
        try:
            self._reader.feed(data)
        except MalformedResponseError as error:
            self._waiter.set_exception(error)
        else:
            if self._reader.is_complete:
                self._waiter.set_result(self._reader.response())

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        is_whole = exc is None and self._reader.has_head and self._reader.ends_with_connection
        if is_whole and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(self._reader.response())
        self._fail(exc)
        self._on_lost(self)

    def _miss_head(self) -> None:
        if self._reader.has_head:
            self._timer = self._loop.call_at(self._deadline, self._miss_deadline)
        else:
            self._fail(TimeoutError())

    def _miss_deadline(self) -> None:
        self._fail(DeadlineError())

    def _fail(self, fault: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            fate = Fate.BROKEN_RESPONSE if self._has_received else Fate.NO_RESPONSE
            self._waiter.set_exception(ExchangeError(fate, fault, has_served=self._has_served))
