"""The edge's HTTPS server."""

import ssl

from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway.edge import three_ds, token
from gateway.edge.authentication import require_bearer
from gateway.edge.errors import answer_errors
from gateway.edge.three_ds import ThreeDSNotifications
from gateway.edge.token import TokenEndpoint
from gateway.edge.tokens import Tokens

__all__ = ["EdgeServer"]


class EdgeServer:
    """Serves D1's callbacks on one port."""

    def __init__(
        self,
        *,
        notifications: ThreeDSNotifications,
        tokens: Tokens | None,
        max_body_bytes: int,
        drain_grace_seconds: float,
    ) -> None:
        """Assemble the server.

        Args:
            notifications: Takes 3DS notifications.
            tokens: Where OAuth was agreed with D1; None where the client certificate alone is asked for.
            max_body_bytes: Largest body.
            drain_grace_seconds: How long requests in flight may go on once `stop` is called.
        """
        middlewares: list[Middleware] = [answer_errors]
        if tokens is not None:
            middlewares.append(require_bearer(tokens))
        app = web.Application(middlewares=middlewares, client_max_size=max_body_bytes)
        app.on_response_prepare.append(_hide_versions)
        app.router.add_post(three_ds.PATH, notifications.post)
        if tokens is not None:
            app.router.add_post(token.PATH, TokenEndpoint(tokens).post)
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


async def _hide_versions(_: web.Request, response: web.StreamResponse) -> None:
    # aiohttp would tell everybody its own version and Python's.
    response.headers["Server"] = "d1-gateway"
