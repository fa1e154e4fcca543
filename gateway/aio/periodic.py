"""Work that is done again and again beside everything else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

__all__ = ["every"]

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do some work repeatedly for as long as the context lasts; the first time after the given time.

    Args:
        seconds: How long to wait between the end of one time and the beginning of the next.
        work: What to do. A failure is logged and ends only that one time.
    """

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception:  # noqa: BLE001 (whatever broke this time, the next time has to come)
                _log.exception("periodic_task_failed")

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
