"""The edge's HTTPS server."""

import ssl
from collections.abc import Iterable
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.edge.authentication import require_bearer
from gateway.edge.errors import answer_errors
from gateway.edge.telemetry import EdgeTelemetry
from gateway.edge.token import TokenEndpoint
from gateway.edge.tokens import Tokens

__all__ = ["Callbacks", "EdgeServer"]


class Callbacks(Protocol):
    """A group of D1's callbacks."""

    def routes(self) -> list[web.RouteDef]:
        """Tell where D1 calls, and what is called here."""
        ...


class EdgeServer:
    """Serves D1's callbacks on one port."""

    def __init__(
        self,
        *,
        callbacks: Iterable[Callbacks],
        tokens: Tokens | None,
        telemetry: EdgeTelemetry,
        max_body_bytes: int,
        drain_grace_seconds: float,
    ) -> None:
        """Assemble the server.

        Args:
            callbacks: What is served.
            tokens: Where OAuth was agreed with D1; None where the client certificate alone is asked for.
            telemetry: Measures every request.
            max_body_bytes: Largest body.
            drain_grace_seconds: How long requests in flight may go on once `stop` is called.
        """
        middlewares: list[Middleware] = [answer_errors, telemetry.middleware()]
        if tokens is not None:
            middlewares.append(require_bearer(tokens))
        app = web.Application(middlewares=middlewares, client_max_size=max_body_bytes)
        served = callbacks if tokens is None else (*callbacks, TokenEndpoint(tokens))
        app.add_routes([route for group in served for route in group.routes()])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=drain_grace_seconds)

    async def start(self, host: str, port: int, tls: ssl.SSLContext) -> int:
        """Begin to serve.

        Args:
            host: Address to listen on.
            port: TCP port; 0 takes a free one.
            tls: Demands client certificates.

        Returns:
            The port.

        Raises:
            OSError: The port cannot be had.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=tls).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Take no new connections, let requests in flight be answered, close."""
        await self._runner.cleanup()
