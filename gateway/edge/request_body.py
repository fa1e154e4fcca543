"""Reads request bodies, limited in size, time and depth."""

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from itertools import chain
from typing import Any, Final

import orjson
from aiohttp import hdrs, web

from gateway.aio import http_server
from gateway.edge.responses import HttpError

__all__ = ["BODY_SECONDS", "read_body", "read_json"]

BODY_SECONDS: Final = web.AppKey("BODY_SECONDS", float)
"""Application key: time limit for a body, in seconds."""

_JSON = "application/json"
_MAX_LEVELS: Final = 32
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
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise HttpError(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise HttpError(400, "the body must be a JSON object")
    # A text with few brackets cannot nest deep, whatever its strings hold. That spares nearly every callback the walk.
    if body.count(b"{") + body.count(b"[") > _MAX_LEVELS and _nests_deeper(value, _MAX_LEVELS):
        raise HttpError(400, f"the body nests deeper than {_MAX_LEVELS} levels")
    return value


def _nests_deeper(value: Any, levels: int) -> bool:
    inner: list[Any] = [value]
    for _ in range(levels + 1):
        inner = [*chain.from_iterable(map(_members, inner))]
        if not inner:
            return False
    return True


def _members(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()
