"""Corrects two behaviours of aiohttp's HTTP server: for malformed requests, and for the header ``Expect``.

aiohttp's response to a malformed request quotes it and names the versions of aiohttp and Python. It responds to
``Expect`` (RFC 9110, section 10.1.1) before any middleware runs, and quotes an unknown expectation; here the server
asks for the body when it needs it.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, TypeAlias

from aiohttp import HttpVersion11, StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

__all__ = ["HttpConnection", "defer_continue", "is_awaiting_continue", "send_continue"]

_RequestFactory: TypeAlias = Callable[
    [RawRequestMessage, StreamReader, web.RequestHandler, AbstractStreamWriter, "asyncio.Task[None]"], web.BaseRequest
]

_CONTINUE: Final = "100-continue"
_AWAITS_CONTINUE: Final = web.RequestKey("AWAITS_CONTINUE", bool)


class HttpConnection(web.RequestHandler, ABC):
    """Reads requests from a connection and responds in order."""

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
    return request.get(_AWAITS_CONTINUE, False) and not request.content.is_eof()


async def send_continue(request: web.BaseRequest) -> None:
    """Send ``100 Continue`` to a client that waits for it."""
    if is_awaiting_continue(request):
        request[_AWAITS_CONTINUE] = False
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # aiohttp would take this for the start of the response.
        request.writer.output_size = 0


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
