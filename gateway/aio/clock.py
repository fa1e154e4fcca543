"""Time on the event loop: a clock that tests replace, and work that is done every so often."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

__all__ = ["Clock", "Timer", "every"]


class Timer(Protocol):
    """What `Clock.call_at` returns."""

    def cancel(self) -> None:
        """Do not call any more."""
        ...


class Clock(Protocol):
    """Time, as `asyncio.AbstractEventLoop` has it."""

    def time(self) -> float:
        """Tell the time in seconds; it never goes back."""
        ...

    def call_at(self, when: float, callback: Callable[..., object], /, *args: object) -> Timer:
        """Call something at a time, never before this returns."""
        ...


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
