"""The header `Expect` (RFC 9110, section 10.1.1): who asks before sending a body is told to go on once it is wanted.

aiohttp would answer before any middleware: whoever asks is told to go on, and what else stands there is quoted.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeAlias

from aiohttp import HttpVersion11, StreamReader, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy

__all__ = ["go_on", "is_waiting", "take_over"]

_Make: TypeAlias = Callable[
    [RawRequestMessage, StreamReader, web.RequestHandler, AbstractStreamWriter, "asyncio.Task[None]"], web.BaseRequest
]

_CONTINUE: Final = "100-continue"
_WAITS: Final = web.RequestKey("WAITS", bool)


def take_over(server: web.Server) -> None:
    """Keep the header of the requests to come from aiohttp. Expectations other than to be told to go on are ignored.

    Args:
        server: One that has no connections yet.
    """
    server.request_factory = _without_expectation(server.request_factory)


def is_waiting(request: web.BaseRequest) -> bool:
    """Tell whether the client waits to be told to go on, as far as can be seen: no body, or not all of it, is there."""
    return request.get(_WAITS, False) and not request.content.is_eof()


async def go_on(request: web.BaseRequest) -> None:
    """Tell a client that waits to send its body."""
    if is_waiting(request):
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
