"""Limits concurrent requests; excess ones wait in a queue of limited length."""

import asyncio

__all__ = ["AdmissionQueue", "QueueFullError"]


class QueueFullError(Exception):
    """The queue is full."""


class AdmissionQueue:
    """Slots for concurrent requests, granted in order of arrival."""

    def __init__(self, max_connections: int, max_waiting_requests: int) -> None:
        """Start with `max_connections` free slots and room for `max_waiting_requests` in the queue."""
        self._slots = asyncio.Semaphore(max_connections)
        self._max_waiting_requests = max_waiting_requests
        self._waiting = 0
        self._has_free_slot = asyncio.Event()

    @property
    def waiting_count(self) -> int:
        """The number of requests in the queue."""
        return self._waiting

    async def enter(self, deadline: float) -> None:
        """Acquire a slot.

        Args:
            deadline: When to give up, in seconds of the event loop's clock.

        Raises:
            QueueFullError: No slot is free and the queue is full.
            TimeoutError: No slot became free in time.
        """
        if not self._slots.locked():
            # Without waiting, so that no timer is needed.
            await self._slots.acquire()
            return
        if self._waiting >= self._max_waiting_requests:
            raise QueueFullError
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        finally:
            self._waiting -= 1

    async def enter_last(self, deadline: float) -> None:
        """Acquire a slot that nobody else waits for, not even those who come later.

        Args:
            deadline: When to give up, in seconds of the event loop's clock.

        Raises:
            TimeoutError: There was no such slot in time.
        """
        async with asyncio.timeout_at(deadline):
            while self._slots.locked():
                self._has_free_slot.clear()
                await self._has_free_slot.wait()
            await self._slots.acquire()

    def leave(self) -> None:
        """Release a slot."""
        self._slots.release()
        if not self._slots.locked():
            self._has_free_slot.set()
