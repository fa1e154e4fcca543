"""Reads the bodies that D1 sends."""

import orjson
from aiohttp import hdrs, web

from gateway.edge.errors import Refusal
from gateway.fields import Fields

__all__ = ["read_json"]

_JSON = "application/json"


async def read_json(request: web.Request) -> Fields:
    """Read a request's body as a JSON object.

    Raises:
        Refusal: 415 for another content type, 400 for what is no JSON object or nests too deep.
        aiohttp.web.HTTPRequestEntityTooLarge: The body is larger than the edge takes.
    """
    # What D1 sends is told at a glance; aiohttp parses the rest.
    if request.headers.get(hdrs.CONTENT_TYPE) != _JSON and request.content_type != _JSON:
        raise Refusal(415, "the content type must be application/json")
    body = await request.read()
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refusal(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refusal(400, "the body must be a JSON object")
    return Fields(value)
