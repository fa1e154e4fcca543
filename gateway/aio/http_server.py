"""What aiohttp's HTTP server does not do as it should: malformed requests, and the header ``Expect``.

aiohttp's own answer to what is not HTTP quotes it and names the versions of aiohttp and Python. It answers ``Expect``
(RFC 9110, section 10.1.1) before any middleware runs, and quotes an expectation that it does not know; here the body is
asked for once it is wanted.
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

_Make: TypeAlias = Callable[
    [RawRequestMessage, StreamReader, web.RequestHandler, AbstractStreamWriter, "asyncio.Task[None]"], web.BaseRequest
]

_CONTINUE: Final = "100-continue"
_WAITS: Final = web.RequestKey("WAITS", bool)


class HttpConnection(web.RequestHandler, ABC):
    """Reads requests off a connection, and answers them in order."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP; aiohttp's own answer would quote it, and name the versions of aiohttp and Python."""
        del message
        self.note_error(request, status, exc)
        if request.writer.output_size > 0:
            raise ConnectionError("half of an answer has been sent")
        is_ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        response = web.Response(
            status=status,
            body=b'{"error":"internal error"}' if is_ours else b'{"error":"this is no HTTP request"}',
            content_type="application/json",
            headers={hdrs.SERVER: "d1-gateway"},
        )
        response.force_close()
        return response

    @abstractmethod
    def note_error(self, request: web.BaseRequest, status: int, error: BaseException | None) -> None:
        """Be told of what is answered so.

        Args:
            request: Nothing but where it came from.
            status: 400 for what is no HTTP; otherwise something of ours broke.
            error: Why. Its text may quote what was sent.
        """


def defer_continue(server: web.Server) -> None:
    """Keep the header of the requests to come from aiohttp. Expectations other than to be told to go on are ignored.

    Args:
        server: One that has no connections yet.
    """
    server.request_factory = _without_expectation(server.request_factory)


def is_awaiting_continue(request: web.BaseRequest) -> bool:
    """Tell whether the client waits to be told to go on, as far as can be seen: no body, or not all of it, is there."""
    return request.get(_WAITS, False) and not request.content.is_eof()


async def send_continue(request: web.BaseRequest) -> None:
    """Tell a client that waits to send its body."""
    if is_awaiting_continue(request):
        request[_WAITS] = False
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # aiohttp would take it for the beginning of the answer.
        request.writer.output_size = 0


def _without_expectation(make: _Make) -> _Make:
    def made(
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
        # HTTP/1.0 does not know it.
        request[_WAITS] = message.version == HttpVersion11 and _CONTINUE in (each.strip().lower() for each in expected)
        return request

    return made
