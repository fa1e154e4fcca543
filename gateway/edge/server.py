"""The edge's HTTPS server."""

import ssl
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from gateway.aio import http_server
from gateway.aio.sockets import cannot_listen
from gateway.edge.auth_client_certificate import Clients, require_client
from gateway.edge.auth_token_endpoint import TokenEndpoint, require_bearer
from gateway.edge.auth_tokens import Tokens
from gateway.edge.platform import PlatformCallbacks
from gateway.edge.request_body import BODY_SECONDS
from gateway.edge.responses import answer_errors
from gateway.edge.server_connection import Connection, ConnectionLog, timed
from gateway.edge.telemetry import EdgeTelemetry
from gateway.edge.tls_listener import Listener

__all__ = ["EdgeServer", "Limits"]

# Far more than a round trip to the platform's network, far less than its patience.
_LULL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask of the edge."""

    max_body_bytes: int = 65_536
    max_connections: int = 1000
    request_timeout_seconds: float = 10.0
    """How long the TLS handshake, the head of a request and its body may each take."""
    idle_timeout_seconds: float = 75.0
    """How long a connection is kept without a request."""


class EdgeServer:
    """Serves a card platform's callbacks on one port."""

    def __init__(
        self,
        *,
        callbacks: PlatformCallbacks,
        clients: Clients,
        tokens: Tokens | None,
        telemetry: EdgeTelemetry,
        limits: Limits,
        drain_grace_seconds: float,
    ) -> None:
        """Assemble the server.

        Args:
            callbacks: The card platform's.
            clients: The clients that may call.
            tokens: Issues and verifies bearer tokens; None where the client certificate alone is required.
            telemetry: Measures every request.
            limits: What a client may ask.
            drain_grace_seconds: How long requests in flight may go on once `stop` is called.
        """
        middlewares: list[Middleware] = [
            timed,
            self._drain_interceptor(),
            answer_errors,
            telemetry.middleware(),
            require_client(clients),
        ]
        routes = [*callbacks.routes]
        if tokens is not None:
            endpoint = TokenEndpoint(tokens, path=callbacks.token_path, body=callbacks.token_body)
            middlewares.append(require_bearer(endpoint))
            routes += endpoint.routes()
        app = web.Application(middlewares=middlewares, client_max_size=limits.max_body_bytes)
        app[BODY_SECONDS] = limits.request_timeout_seconds
        app.add_routes(routes)
        self._limits = limits
        self._lull_seconds = min(_LULL_SECONDS, drain_grace_seconds / 4)
        self._is_draining = False
        self._connection_log = ConnectionLog()
        self._telemetry = telemetry
        self._listener: Listener | None = None
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=drain_grace_seconds)

    async def start(self, host: str, port: int, tls: ssl.SSLContext, *, reuse_port: bool = False) -> int:
        """Begin to serve.

        Args:
            host: Address to listen on.
            port: TCP port; 0 takes a free one.
            tls: Asks for client certificates.
            reuse_port: Whether other processes may listen there too.

        Returns:
            The port.

        Raises:
            OSError: The port cannot be had.
        """
        await self._runner.setup()
        http_server.defer_continue(cast("web.Server", self._runner.server))
        self._listener = Listener(
            self._connection,
            tls,
            max_connections=self._limits.max_connections,
            handshake_timeout_seconds=self._limits.request_timeout_seconds,
        )
        try:
            return await self._listener.open(host, port, reuse_port=reuse_port)
        except OSError as error:
            await self._listener.close()
            raise cannot_listen("edge", host, port, error) from error

    async def stop(self) -> None:
        """Take no new connections, let requests in flight be answered, close.

        For a moment whoever is answered is told to use its connection no more: what came over it while it is being
        closed would get no answer.
        """
        self._is_draining = True
        if self._listener is not None:
            await self._listener.close(self._lull_seconds)
        await self._runner.cleanup()
        if self._listener is not None:
            await self._listener.forget()

    def _drain_interceptor(self) -> Middleware:
        @web.middleware
        async def part(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            if self._is_draining or _ends_connection(request):
                response.force_close()
            return response

        return part

    def _connection(self) -> Connection:
        return Connection(
            cast("web.Server", self._runner.server),
            self._connection_log,
            self._telemetry.count_unread,
            idle_timeout_seconds=self._limits.idle_timeout_seconds,
            head_timeout_seconds=self._limits.request_timeout_seconds,
        )


def _ends_connection(request: web.Request) -> bool:
    # What follows a request that asks for another protocol aiohttp may drop. A body that nobody asked for may follow
    # or not: what comes next could be either.
    return hdrs.UPGRADE in request.headers or http_server.is_awaiting_continue(request)
