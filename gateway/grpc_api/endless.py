"""Streams that last as long as their caller likes: the gateway ends them when it shuts down."""

import asyncio
from collections.abc import Coroutine
from typing import Final

__all__ = ["EndlessStreams"]

_LAST_SECONDS: Final = 0.1
"""Long enough to answer a stream that begins during the shutdown."""


class EndlessStreams:
    """Runs such streams. Without it each of them would use up the grace period of the shutdown.

    An rpc whose own task is cancelled sends no status, so its caller would not learn that it is over.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self._has_ended = False

    def __bool__(self) -> bool:
        return bool(self._running)

    async def run(self, stream: Coroutine[object, object, None]) -> None:
        """Serve a stream until it, its caller or the gateway ends.

        Raises:
            Exception: Whatever the stream raises.
        """
        task = asyncio.create_task(stream)
        self._running.add(task)
        try:
            await asyncio.wait((task,), timeout=_LAST_SECONDS if self._has_ended else None)
        finally:
            self._running.discard(task)
            is_cut = task.cancel()
        if not (is_cut or task.cancelled()):
            task.result()

    def end(self) -> None:
        """End all of them, with status OK, and those that begin from now on."""
        self._has_ended = True
        for task in self._running:
            task.cancel()
