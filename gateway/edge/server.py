"""The edge's HTTPS server."""

import ssl
from typing import Final, cast

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from gateway.aio import http_server
from gateway.aio.sockets import cannot_listen
from gateway.edge.auth_client_certificate import Clients, require_client
from gateway.edge.auth_token_endpoint import TokenEndpoint, require_bearer
from gateway.edge.auth_tokens import Tokens
from gateway.edge.connection_refusals import Refusals
from gateway.edge.held_requests import HELD_REQUESTS, HeldRequests
from gateway.edge.platform import PlatformCallbacks
from gateway.edge.request_body import BODY_SECONDS
from gateway.edge.responses import answer_errors
from gateway.edge.server_connection import Connection, timed
from gateway.edge.telemetry import EdgeTelemetry
from gateway.edge.tls_listener import Listener, ListenerLimits
from gateway.logging.throttled import ThrottledLog
from gateway.settings import EdgeSettings

__all__ = ["EdgeServer"]

# A request that is sent while its connection is being closed gets no response. The longer an idle connection waits for
# one, the less likely is that one comes just then; and a busy client has long had a response that says "close".
_DRAIN_PAUSE_SECONDS: Final = 0.5


class EdgeServer:
    """Serves a card platform's callbacks."""

    def __init__(
        self,
        *,
        callbacks: PlatformCallbacks,
        clients: Clients,
        tokens: Tokens | None,
        telemetry: EdgeTelemetry,
        settings: EdgeSettings,
        drain_grace_seconds: float,
    ) -> None:
        """Assemble the server.

        Args:
            callbacks: The card platform's callbacks.
            clients: Authenticates clients by certificate.
            tokens: Issues and verifies bearer tokens; None if the client certificate alone is required.
            telemetry: Measures and logs every request.
            settings: Limits for clients.
            drain_grace_seconds: How long `stop` waits for requests in flight.
        """
        middlewares: list[Middleware] = [
            timed,
            self._drain_middleware(),
            answer_errors,
            telemetry.middleware(callbacks.quiet_routes),
            require_client(clients),
        ]
        routes = [*callbacks.routes]
        if tokens is not None:
            endpoint = TokenEndpoint(tokens, path=callbacks.token_path, body=callbacks.token_body)
            middlewares.append(require_bearer(endpoint))
            routes += endpoint.routes()
        app = web.Application(middlewares=middlewares, client_max_size=settings.max_body_bytes)
        app[BODY_SECONDS] = settings.request_timeout_seconds
        app[HELD_REQUESTS] = self._held = HeldRequests()
        app.add_routes(routes)
        self._settings = settings
        self._drain_pause_seconds = min(_DRAIN_PAUSE_SECONDS, drain_grace_seconds / 20)
        self._is_draining = False
        self._clients = clients
        self._malformed = ThrottledLog("malformed_request_rejected")
        self._refusals = Refusals(telemetry.count_refused)
        self._telemetry = telemetry
        self._listener: Listener | None = None
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=drain_grace_seconds)

    async def start(self, host: str, port: int, tls: ssl.SSLContext, *, reuse_port: bool = False) -> int:
        """Start to serve, on any free port if `port` is 0; return the port.

        Raises:
            OSError: The port is not available.
        """
        await self._runner.setup()
        http_server.defer_continue(cast("web.Server", self._runner.server))
        self._listener = Listener(
            self._connection,
            tls,
            limits=ListenerLimits(
                max_connections=self._settings.max_connections,
                max_connections_per_address=self._settings.max_connections_per_address,
                max_handshakes=self._settings.max_handshakes,
                handshake_timeout_seconds=self._settings.handshake_timeout_seconds,
            ),
            refusals=self._refusals,
            is_proxy=self._clients.is_proxy,
            is_client=self._clients.knows,
        )
        self._telemetry.measure_connections(self._listener)
        try:
            return await self._listener.open(host, port, reuse_port=reuse_port)
        except OSError as error:
            await self._listener.close()
            raise cannot_listen("edge", host, port, error) from error

    async def stop(self) -> None:
        """Accept no new connections, complete requests in flight without holding any, then close.

        For a short time responses carry ``Connection: close``, and idle connections stay: a request that arrives while
        its connection is being closed would get no response.
        """
        self._is_draining = True
        self._held.release()
        if self._listener is not None:
            await self._listener.close(self._drain_pause_seconds)
        await self._runner.cleanup()
        if self._listener is not None:
            await self._listener.cancel_connections()

    def _drain_middleware(self) -> Middleware:
        @web.middleware
        async def close_when_draining(request: web.Request, handler: Handler) -> web.StreamResponse:
            response = await handler(request)
            if self._is_draining or _ends_connection(request):
                response.force_close()
            return response

        return close_when_draining

    def _connection(self) -> Connection:
        return Connection(
            cast("web.Server", self._runner.server),
            self._refusals,
            self._malformed,
            self._telemetry.count_unread,
            idle_timeout_seconds=self._settings.idle_timeout_seconds,
            head_timeout_seconds=self._settings.request_timeout_seconds,
        )


def _ends_connection(request: web.Request) -> bool:
    # aiohttp may drop what follows an upgrade request. And after a body that the gateway did not ask for, the next
    # bytes may be that body or the next request.
    return hdrs.UPGRADE in request.headers or http_server.is_awaiting_continue(request)
