"""Asks a worker what it tells at its own admin port."""

from typing import Final

import aiohttp

from gateway.workers.process import Worker

__all__ = ["PATIENCE_SECONDS", "ask"]

PATIENCE_SECONDS: Final = 4.0
"""How long a worker may take: it gives its own storage two seconds."""


async def ask(worker: Worker, path: str) -> str | None:
    """Get the body of a page, whatever its status; None if the worker does not answer."""
    connector = aiohttp.UnixConnector(str(worker.place.admin_socket))
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(f"http://worker{path}") as answer,
        ):
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return None
