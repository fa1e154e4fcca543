"""How those who wait for the next event learn of it."""

import asyncio

from adapters.sqlite.failure import closed

__all__ = ["Growth"]


class Growth:
    """The end of the log as its event loop knows it."""

    def __init__(self, last: int) -> None:
        """Begin at the log's last sequence."""
        self.last = last
        """The log's last sequence."""
        self._closed = False
        self._changed = asyncio.Event()

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until the log holds an event after that sequence.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE, the log was closed meanwhile.
        """
        while self.last <= sequence:
            if self._closed:
                raise closed()
            await self._changed.wait()

    def reach(self, last: int) -> None:
        """Note the last sequence, and wake everybody if it is a new one."""
        if last > self.last:
            self.last = last
            self._wake()

    def close(self) -> None:
        """Let everybody go who waits: nothing will come any more."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
