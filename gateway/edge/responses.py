"""The answers of the edge."""

from collections.abc import Mapping

import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict

__all__ = ["empty_response", "json_response"]

# aiohttp would tell everybody its own version and Python's. Copied for each answer, as aiohttp writes into it.
_HEADERS = CIMultiDict({hdrs.SERVER: "d1-gateway"})


def empty_response(status: int) -> web.Response:
    """Build an answer without a body: done, nothing to say."""
    return web.Response(status=status, headers=_HEADERS.copy())


def json_response(status: int, body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """Build an answer with a JSON body."""
    own = _HEADERS.copy()
    own.update(headers or {})
    response = web.Response(status=status, body=orjson.dumps(body), content_type="application/json", headers=own)
    if own.get(hdrs.CONNECTION) == "close":
        response.force_close()
    return response
