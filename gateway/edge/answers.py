"""The answers of the edge."""

from collections.abc import Mapping
from types import MappingProxyType

import orjson
from aiohttp import hdrs, web

__all__ = ["json_response", "no_content"]

# aiohttp would tell everybody its own version and Python's.
_SERVER: Mapping[str, str] = MappingProxyType({hdrs.SERVER: "d1-gateway"})


def no_content() -> web.Response:
    """Build the answer 204: done, nothing to say."""
    return web.Response(status=204, headers=_SERVER)


def json_response(status: int, body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """Build an answer with a JSON body."""
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type="application/json",
        headers=_SERVER if headers is None else {**_SERVER, **headers},
    )
