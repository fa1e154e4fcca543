"""How those who wait for the next event learn of it."""

import asyncio

__all__ = ["AppendNotifier"]


class AppendNotifier:
    """The end of a log as its event loop knows it."""

    def __init__(self, last: int) -> None:
        """Begin at the log's last sequence."""
        self.last = last
        """The log's last sequence."""
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Wait until there is something to look at: a new last sequence, or the end."""
        await self._changed.wait()

    def reach(self, last: int) -> None:
        """Note the last sequence, and wake everybody if it is a new one."""
        if last > self.last:
            self.last = last
            self.wake()

    def wake(self) -> None:
        """Let everybody look who waits."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
