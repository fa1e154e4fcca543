"""An HTTP server, on loopback unless told otherwise."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

__all__ = ["HOST", "serve"]

HOST = "127.0.0.1"
"""Where the sandbox is reached, and listens unless told otherwise."""

_SHUTDOWN_SECONDS = 0.2


@asynccontextmanager
async def serve(
    app: web.Application, port: int, tls: ssl.SSLContext | None = None, *, host: str = HOST
) -> AsyncIterator[int]:
    """Serve an application for the duration of the block.

    Args:
        app: The application.
        port: The port; 0 for any free port.
        tls: None for plain HTTP.
        host: The address to listen on.

    Yields:
        The port in use.

    Raises:
        OSError: The port is taken.
    """
    handling: set[asyncio.Task[None]] = set()
    app.middlewares.insert(0, _noted_in(handling))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        _, actual_port = runner.addresses[0]
        yield actual_port
    finally:
        await runner.cleanup()
        # aiohttp drops a handler task whose client disconnected; held by a delay, it would outlive the server.
        for task in handling:
            task.cancel()
        await asyncio.gather(*handling, return_exceptions=True)


def _noted_in(handling: set[asyncio.Task[None]]) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        handling.add(request.task)
        try:
            return await handler(request)
        finally:
            handling.discard(request.task)

    return middleware
