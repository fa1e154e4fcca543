"""Serving an application on loopback for as long as a block lasts."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

__all__ = ["HOST", "serve"]

HOST = "127.0.0.1"
"""The only address the sandbox listens on."""

_SHUTDOWN_SECONDS = 0.2


@asynccontextmanager
async def serve(app: web.Application, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve an application.

    Args:
        app: What to serve.
        port: Where; 0 for any free port.
        tls: None for plain HTTP.

    Yields:
        The port.

    Raises:
        OSError: The port is taken.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port, ssl_context=tls).start()
        _, actual_port = runner.addresses[0]
        yield actual_port
    finally:
        await runner.cleanup()
