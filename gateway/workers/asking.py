"""Asks a worker what it tells at its own admin port."""

import math
from typing import Final

import aiohttp

from gateway.workers.process import Worker

__all__ = ["PATIENCE_SECONDS", "ask", "probe"]

PATIENCE_SECONDS: Final = 4.0
"""How long a worker may take: it gives its own storage two seconds."""


async def ask(worker: Worker, path: str) -> str | None:
    """Get the body of a page, whatever its status.

    Returns:
        None if the worker does not answer; at once, if it did not answer when it was probed last.
    """
    return None if worker.unanswered else await _body(worker, path, PATIENCE_SECONDS)


async def probe(worker: Worker, patience_seconds: float) -> None:
    """Ask a worker for a sign of life, and note whether it gave one.

    Args:
        worker: Who is asked.
        patience_seconds: How long it may take.
    """
    lives = await _body(worker, "/healthz", patience_seconds) is not None
    worker.unanswered = 0 if lives else worker.unanswered + 1


async def _body(worker: Worker, path: str, seconds: float) -> str | None:
    connector = aiohttp.UnixConnector(str(worker.place.admin_socket))
    # aiohttp would round up what is 5 s or longer.
    timeout = aiohttp.ClientTimeout(total=seconds, ceil_threshold=math.inf)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(f"http://worker{path}") as answer,
        ):
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return None
