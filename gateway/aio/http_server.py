"""Corrects what aiohttp's HTTP server does with malformed requests, and with the header ``Expect``.

aiohttp's response to a malformed request quotes it and names the versions of aiohttp and Python. It takes requests
whose length another reader may see elsewhere, and chunked bodies that consist of anything but data. A body that turns
out to be malformed is waited for. And it responds to ``Expect`` (RFC 9110, section 10.1.1) before any middleware runs,
and quotes an unknown expectation; here the server asks for the body when it needs it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from aiohttp import EMPTY_PAYLOAD, HttpVersion11, StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.web_protocol import _ErrInfo
from multidict import CIMultiDict, CIMultiDictProxy

__all__ = ["HttpConnection", "defer_continue", "is_awaiting_continue", "send_continue"]

_RequestFactory: TypeAlias = Callable[
    [RawRequestMessage, StreamReader, web.RequestHandler, AbstractStreamWriter, "asyncio.Task[None]"], web.BaseRequest
]

_CHUNKED: Final = "chunked"
# Sizes of chunks, their extensions, trailers: for each byte of data what a chunk of one byte takes, and some more.
_MAX_FRAMING_BYTES: Final = 16_384
_MAX_FRAMING_PER_BYTE: Final = 16
_CONTINUE: Final = "100-continue"
_AWAITS_CONTINUE: Final = web.RequestKey("AWAITS_CONTINUE", bool)


class HttpConnection(web.RequestHandler, ABC):
    """Reads requests from a connection and responds in order."""

    _incoming: StreamReader = EMPTY_PAYLOAD
    """The body that is being received."""
    _is_chunked = False
    _incoming_bytes = 0
    """Bytes received for that body after those that came with its head."""
    _is_refused = False

    def data_received(self, data: bytes) -> None:
        """Read requests, and refuse those with a length or a body that cannot be relied on."""
        if self._is_refused:
            return
        known_count = len(self._messages)
        super().data_received(data)
        if len(self._messages) > known_count:
            for place in range(known_count, len(self._messages)):
                if not self._begin(place):
                    break
        elif self._is_chunked and not self._incoming.is_eof():
            self._incoming_bytes += len(data)
            data_bytes = self._incoming.total_raw_bytes
            if self._incoming_bytes > _MAX_FRAMING_BYTES + _MAX_FRAMING_PER_BYTE * data_bytes:
                self._refuse_body()

    def _begin(self, place: int) -> bool:
        """Look at a new message; return whether those behind it may be read."""
        message, body = self._messages[place]
        if isinstance(message, _ErrInfo):
            self._refuse_body()
            return False
        if not _has_clear_length(message):
            error = BadHttpMessage("Transfer-Encoding")
            self._messages[place] = _ErrInfo(status=HTTPStatus.BAD_REQUEST, exc=error, message=""), EMPTY_PAYLOAD
            while len(self._messages) > place + 1:
                self._messages.pop()
            self._is_refused = True
            return False
        self._incoming, self._is_chunked, self._incoming_bytes = body, message.chunked, 0
        return True

    def _refuse_body(self) -> None:
        self._is_refused = True
        if not self._incoming.is_eof():
            self._incoming.set_exception(web.RequestPayloadError("malformed"))
            # There is no rest to wait for.
            self._incoming.feed_eof()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log what aiohttp did not expect, apart from a body that turns out to be malformed after its response."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Respond to a malformed request, without quoting it or naming versions as aiohttp does."""
        del message
        self.note_error(request, status, exc)
        if request.writer.output_size > 0:
            raise ConnectionError("half of a response has been sent")
        is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        response = web.Response(
            status=status,
            body=b'{"error":"internal error"}' if is_ours else b'{"error":"malformed HTTP request"}',
            content_type="application/json",
            headers={hdrs.SERVER: "d1-gateway"},
        )
        response.force_close()
        return response

    @abstractmethod
    def note_error(self, request: web.BaseRequest, status: int, error: BaseException | None) -> None:
        """Report such a response.

        Args:
            request: Holds only the sender's address.
            status: 400 for a malformed request; otherwise the fault is the gateway's.
            error: The cause. Its text may quote the request.
        """


def defer_continue(server: web.Server) -> None:
    """Hide ``Expect`` from aiohttp in all requests to come. Expectations other than ``100-continue`` are ignored.

    Args:
        server: A server without connections.
    """
    server.request_factory = _without_expectation(server.request_factory)


def is_awaiting_continue(request: web.BaseRequest) -> bool:
    """Return whether the client waits for ``100 Continue``, as far as visible: its body has not fully arrived."""
    return not request.content.is_eof() and request.get(_AWAITS_CONTINUE, False)


async def send_continue(request: web.BaseRequest) -> None:
    """Send ``100 Continue`` to a client that waits for it."""
    if is_awaiting_continue(request):
        request[_AWAITS_CONTINUE] = False
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # aiohttp would take this for the start of the response.
        request.writer.output_size = 0


def _has_clear_length(message: RawRequestMessage) -> bool:
    """Return whether all readers agree where a request ends, if the parser has accepted it.

    The parser takes an empty ``Transfer-Encoding`` for none, and other codings before ``chunked`` for data. In HTTP/1.0
    the header is a mistake (RFC 9112, section 6.1).
    """
    if hdrs.TRANSFER_ENCODING not in message.headers:
        return True
    codings = message.headers.getall(hdrs.TRANSFER_ENCODING)
    return message.version == HttpVersion11 and [each.lower() for each in codings] == [_CHUNKED]


def _without_expectation(make: _RequestFactory) -> _RequestFactory:
    def make_request(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        if hdrs.EXPECT not in message.headers:
            return make(message, payload, protocol, writer, task)
        headers = CIMultiDict(message.headers)
        expected = ",".join(headers.popall(hdrs.EXPECT)).split(",")
        plain = message._replace(headers=CIMultiDictProxy(headers))
        request = make(plain, payload, protocol, writer, task)
        # HTTP/1.0 has no 100 Continue.
        request[_AWAITS_CONTINUE] = message.version == HttpVersion11 and _CONTINUE in (
            each.strip().lower() for each in expected
        )
        return request

    return make_request
