"""Background work, such as callbacks after a response; it ends with the sandbox at the latest."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from sandbox.d1.callbacks.edge_client import NotDeliveredError
from sandbox.d1.callbacks.requests import CallbackError

__all__ = ["Background"]


class Background:
    """The background tasks of a sandbox."""

    def __init__(self) -> None:
        """Start without tasks; `run` cancels them at the end of its block."""
        self.errors: list[str] = []
        """The failures: each task's name and the reason."""
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def run(cls) -> AsyncIterator["Background"]:
        """Run tasks for the duration of the block; unfinished ones are then cancelled."""
        background = cls()
        try:
            yield background
        finally:
            tasks = list(background._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Start a task.

        Args:
            work: The work. Edge failures are expected; any other error is a bug and logged.
            name: The task's name in `errors`; no secrets.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, NotDeliveredError | CallbackError):
            self.errors.append(f"{task.get_name()}: {error}")
        else:
            # The text of an unexpected error may hold private data; its traceback goes to the log.
            self.errors.append(f"{task.get_name()}: {type(error).__name__}")
            context = {"message": f"{task.get_name()} failed", "exception": error, "task": task}
            task.get_loop().call_exception_handler(context)
