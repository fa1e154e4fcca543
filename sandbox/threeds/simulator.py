"""The 3-D Secure server simulator as a whole."""

import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sandbox.common.faults import Faults, fault_middleware
from sandbox.common.pki import Identity
from sandbox.common.server import HOST, serve
from sandbox.common.simulation import Simulation
from sandbox.common.tls import server_context
from sandbox.threeds.acs import AcsEndpoints
from sandbox.threeds.api import ServerEndpoints
from sandbox.threeds.contract import Delays, Operation
from sandbox.threeds.store import Transactions

__all__ = ["ThreeDS"]

_OPEN = frozenset({Operation.THREE_DS_METHOD, Operation.CHALLENGE, Operation.DECISION})
"""The endpoints for browsers, which have no key."""


@dataclass(frozen=True, slots=True)
class ThreeDS:
    """A running 3-D Secure server."""

    url: str
    """Its URL: ``https://127.0.0.1:<port>``."""
    api_key: str
    """The value that clients must send in the header ``APIKey``."""
    transactions: Transactions
    endpoints: ServerEndpoints
    acs: AcsEndpoints

    @classmethod
    @asynccontextmanager
    async def start(
        cls, identity: Identity, common: Simulation, *, port: int, delays: Delays
    ) -> AsyncIterator["ThreeDS"]:
        """Run a 3-D Secure server for the duration of the block.

        Args:
            identity: The server's certificate.
            common: What the simulators have in common.
            port: The port to listen on; 0 for any free port.
            delays: The server's delays.

        Raises:
            OSError: The port is taken.
        """
        transactions = Transactions(common.clock, common.state)
        api_key = common.state.table("api_keys", str).setdefault("3-D Secure server", str(uuid.uuid4()))
        endpoints = ServerEndpoints(transactions, delays)
        acs = AcsEndpoints(transactions)
        app = _app(endpoints, acs, api_key, common.faults)
        async with serve(app, port, server_context(identity), host=common.host) as actual_port:
            yield cls(f"https://{HOST}:{actual_port}", api_key, transactions, endpoints, acs)


def _app(endpoints: ServerEndpoints, acs: AcsEndpoints, api_key: str, faults: Faults) -> web.Application:
    """Make the application that is to be served over TLS.

    Args:
        endpoints: What it answers to its clients.
        acs: What it shows to browsers.
        api_key: What its clients have to send in the header ``APIKey``.
        faults: What goes wrong.
    """
    app = web.Application(middlewares=[fault_middleware(faults), _authorise(api_key)])
    app.add_routes([*endpoints.routes(), *acs.routes()])
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
