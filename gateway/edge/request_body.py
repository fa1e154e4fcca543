"""Reads request bodies, limited in size and time."""

import asyncio
from http import HTTPStatus
from typing import Any, Final

from aiohttp import hdrs, web

from gateway.aio import http_server
from gateway.edge.responses import HttpError
from gateway.formats.json_input import InvalidJsonError, read_object

__all__ = ["BODY_SECONDS", "read_body", "read_json"]

BODY_SECONDS: Final = web.AppKey("BODY_SECONDS", float)
"""Application key: time limit for a body, in seconds."""

_JSON = "application/json"
_CLOSE: Final = {"Connection": "close"}


async def read_body(request: web.Request) -> bytes:
    """Read a request's body; sends ``100 Continue`` to a client that waits for it.

    Raises:
        HttpError: 413 for a body that is too large, 408 for one that takes too long; both close the connection.
    """
    if (request.content_length or 0) > request.client_max_size:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large", _CLOSE)
    if request.content.is_eof():
        return await request.read()
    try:
        async with asyncio.timeout(request.app[BODY_SECONDS]):
            await http_server.send_continue(request)
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too large", _CLOSE) from None
    except TimeoutError:
        raise HttpError(HTTPStatus.REQUEST_TIMEOUT, "the body takes too long", _CLOSE) from None


async def read_json(request: web.Request) -> dict[str, Any]:
    """Read a request's body as a JSON object.

    Raises:
        HttpError: 415 for another content type; 400 if it is not a JSON object or nests too deep; what `read_body`
            raises.
    """
    # The usual header is recognised as it is; aiohttp parses any other.
    if request.headers.get(hdrs.CONTENT_TYPE) != _JSON and request.content_type != _JSON:
        raise HttpError(415, "the content type must be application/json")
    body = await read_body(request)
    try:
        return read_object(body)
    except InvalidJsonError as error:
        raise HttpError(400, f"the body {error}") from None
