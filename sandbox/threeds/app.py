"""The 3-D Secure server put together: routes, and around them faults and the API key."""

import secrets

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sandbox.faults import Faults, fault_middleware
from sandbox.threeds.acs import AcsEndpoints
from sandbox.threeds.api import ServerEndpoints
from sandbox.threeds.contract import Delays, Operation
from sandbox.threeds.store import Transactions

__all__ = ["make_threeds_app"]

_OPEN = frozenset({Operation.THREE_DS_METHOD, Operation.CHALLENGE, Operation.DECISION})
"""What browsers call, which have no key."""


def make_threeds_app(transactions: Transactions, api_key: str, delays: Delays, faults: Faults) -> web.Application:
    """Make the application that is to be served over TLS.

    Args:
        transactions: What it remembers.
        api_key: What its clients have to send in the header ``APIKey``.
        delays: How long some things take.
        faults: What goes wrong.
    """
    app = web.Application(middlewares=[fault_middleware(faults), _authorise(api_key)])
    app.add_routes([*ServerEndpoints(transactions, delays).routes(), *AcsEndpoints(transactions).routes()])
    return app


def _authorise(api_key: str) -> Middleware:
    expected = api_key.encode()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("APIKey", "").encode(errors="surrogateescape")
        if request.match_info.route.name not in _OPEN and not secrets.compare_digest(given, expected):
            return web.Response(status=401, text="Invalid API Key")
        return await handler(request)

    return middleware
