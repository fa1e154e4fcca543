"""Time as the event loop has it, so that a test can have another."""

from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "Timer"]


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
