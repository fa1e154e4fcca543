"""Time on the event loop: a clock that tests replace, and periodic work."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

__all__ = ["Clock", "Timer", "every", "wall_clock_ms"]


class Timer(Protocol):
    """A pending call of `Clock.call_at`."""

    def cancel(self) -> None:
        """Cancel the call."""
        ...


class Clock(Protocol):
    """The time methods of `asyncio.AbstractEventLoop`."""

    def time(self) -> float:
        """Return the monotonic time in seconds."""
        ...

    def call_at(self, when: float, callback: Callable[..., object], /, *args: object) -> Timer:
        """Schedule a call for a time; the call never happens before this method returns."""
        ...


_log = structlog.get_logger(__name__)


def wall_clock_ms() -> int:
    """Return the time in milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000


@asynccontextmanager
async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do work periodically for as long as the context lasts, first after one interval.

    Args:
        seconds: Interval between the end of one run and the start of the next.
        work: The work. A failure is logged and does not affect the next run.
    """

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception:  # noqa: BLE001 (the next run must follow, whatever failed in this one)
                _log.exception("periodic_task_failed")

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
