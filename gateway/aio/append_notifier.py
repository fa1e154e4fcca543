"""Wakes those who wait for a log to grow."""

import asyncio

__all__ = ["AppendNotifier"]


class AppendNotifier:
    """The last sequence of a log, as the event loop knows it."""

    def __init__(self, last: int) -> None:
        """Start at the log's last sequence."""
        self.last = last
        """The log's last sequence."""
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Wait for the next wake-up: a new last sequence, or the end of the log's service."""
        await self._changed.wait()

    def reach(self, last: int) -> None:
        """Set the last sequence, and wake all waiters if it is new."""
        if last > self.last:
            self.last = last
            self.wake()

    def wake(self) -> None:
        """Wake all waiters."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
