"""A limit to what is done at a time, with a line of bounded length before it."""

import asyncio

__all__ = ["AdmissionQueue", "QueueFullError"]


class QueueFullError(Exception):
    """As many wait as may."""


class AdmissionQueue:
    """So many places, taken in the order in which they were asked for."""

    def __init__(self, max_connections: int, max_waiting_requests: int) -> None:
        """Begin with every place free.

        Args:
            max_connections: How many are inside at a time.
            max_waiting_requests: How many may wait for a place.
        """
        self._places = asyncio.Semaphore(max_connections)
        self._max_waiting_requests = max_waiting_requests
        self._waiting = 0

    async def enter(self, deadline: float) -> None:
        """Wait for a place, and take it.

        Args:
            deadline: Until when to wait, in seconds of the event loop's clock.

        Raises:
            QueueFullError: There is no place, and none to wait in either.
            TimeoutError: No place became free in time.
        """
        if self._places.locked() and self._waiting >= self._max_waiting_requests:
            raise QueueFullError
        if not self._places.locked():
            # At once, and so without a timer.
            await self._places.acquire()
            return
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                await self._places.acquire()
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()
