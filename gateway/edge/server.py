"""The edge's HTTPS server."""

import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from adapters.d1.callbacks.parsing import BODY_SECONDS
from gateway.aio.addresses import cannot_listen
from gateway.edge import http_expect
from gateway.edge.auth_bearer import require_bearer
from gateway.edge.auth_client_certificate import Clients, require_client
from gateway.edge.auth_token_endpoint import TokenEndpoint
from gateway.edge.auth_tokens import Tokens
from gateway.edge.errors import answer_errors
from gateway.edge.server_connection import Complaints, Connection, timed
from gateway.edge.telemetry import EdgeTelemetry
from gateway.edge.tls_listener import Listener

__all__ = ["Callbacks", "EdgeServer", "Limits"]

# Far more than a round trip to D1's network, far less than D1's patience. The gRPC side takes as long to part.
_LULL_SECONDS: Final = 0.1


class Callbacks(Protocol):
    """A group of D1's callbacks."""

    def routes(self) -> list[web.RouteDef]:
        """Tell where D1 calls, and what is called here."""
        ...


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
    """Serves D1's callbacks on one port."""

    def __init__(
        self,
        *,
        callbacks: Iterable[Callbacks],
        clients: Clients,
        tokens: Tokens | None,
        telemetry: EdgeTelemetry,
        limits: Limits,
        drain_grace_seconds: float,
    ) -> None:
        """Assemble the server.

        Args:
            callbacks: What is served.
            clients: Whom it is served.
            tokens: Where OAuth was agreed with D1; None where the client certificate alone is asked for.
            telemetry: Measures every request.
            limits: How much of it.
            drain_grace_seconds: How long requests in flight may go on once `stop` is called.
        """
        middlewares: list[Middleware] = [
            timed,
            self._parting(),
            answer_errors,
            telemetry.middleware(),
            require_client(clients),
        ]
        if tokens is not None:
            middlewares.append(require_bearer(tokens))
        app = web.Application(middlewares=middlewares, client_max_size=limits.max_body_bytes)
        app[BODY_SECONDS] = limits.request_timeout_seconds
        served = callbacks if tokens is None else (*callbacks, TokenEndpoint(tokens))
        app.add_routes([route for group in served for route in group.routes()])
        self._limits = limits
        self._lull_seconds = min(_LULL_SECONDS, drain_grace_seconds / 4)
        self._is_parting = False
        self._complaints = Complaints()
        self._telemetry = telemetry
        self._listener: Listener | None = None
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=drain_grace_seconds)

    async def start(self, host: str, port: int, tls: ssl.SSLContext, inherited: Sequence[socket.socket] = ()) -> int:
        """Begin to serve.

        Args:
            host: Address to listen on.
            port: TCP port; 0 takes a free one.
            tls: Asks for client certificates.
            inherited: See `Listener.open`.

        Returns:
            The port.

        Raises:
            OSError: The port cannot be had.
        """
        await self._runner.setup()
        http_expect.take_over(cast("web.Server", self._runner.server))
        self._listener = Listener(
            self._connection,
            tls,
            max_connections=self._limits.max_connections,
            handshake_timeout_seconds=self._limits.request_timeout_seconds,
        )
        try:
            return await self._listener.open(host, port, inherited)
        except OSError as error:
            await self._listener.close()
            raise cannot_listen("edge", host, port, error) from error

    async def stop(self) -> None:
        """Take no new connections, let requests in flight be answered, close.

        For a moment whoever is answered is told to use its connection no more: what came over it while it is being
        closed would get no answer.
        """
        self._is_parting = True
        if self._listener is not None:
            await self._listener.close(self._lull_seconds)
        await self._runner.cleanup()
        if self._listener is not None:
            await self._listener.forget()

    def _parting(self) -> Middleware:
        @web.middleware
        async def part(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            if self._is_parting or _ends_connection(request):
                response.force_close()
            return response

        return part

    def _connection(self) -> Connection:
        return Connection(
            cast("web.Server", self._runner.server),
            self._complaints,
            self._telemetry.count_unread,
            idle_timeout_seconds=self._limits.idle_timeout_seconds,
            head_timeout_seconds=self._limits.request_timeout_seconds,
        )


def _ends_connection(request: web.Request) -> bool:
    # What follows a request that asks for another protocol aiohttp may drop. A body that nobody asked for may follow
    # or not: what comes next could be either.
    return hdrs.UPGRADE in request.headers or http_expect.is_waiting(request)
