"""The newest part of the log, held in memory once for all watchers of a process.

Watchers at the end of the log all want the same few events; this window reads them from the log once. A watcher that
lags behind the window reads the log itself.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence

from gateway.ports import EventLog, StoredEvent

__all__ = ["Tail"]

_READ = 1000
_NOT_BEGUN = -1


class Tail:
    """Reads a log through a window over its end."""

    def __init__(self, log: EventLog, *, window: int = 4096) -> None:
        """Make the window.

        Args:
            log: What to read.
            window: How many events it holds at least, once there are as many.
        """
        self._log = log
        self._window = window
        self._events: list[StoredEvent] = []
        self._sequences: list[int] = []
        self._after = _NOT_BEGUN
        self._filling = asyncio.Lock()

    async def read(self, after: int, limit: int) -> Sequence[StoredEvent]:
        """Read at most ``limit`` events after a sequence, in order; none if there are none."""
        if self._after == _NOT_BEGUN:
            last = (await self._log.bounds()).last
            # Whoever was answered first decides: the window may hold events already.
            if self._after == _NOT_BEGUN:
                self._after = last
        if after >= self._after and not self._find(after, 1):
            async with self._filling:
                if not self._find(after, 1):
                    await self._fill()
        # Looked at after all waiting: the window moves on meanwhile.
        if after < self._after:
            return await self._log.read(after, limit)
        return self._find(after, limit)

    def _find(self, after: int, limit: int) -> list[StoredEvent]:
        start = bisect_right(self._sequences, after)
        return self._events[start : start + limit]

    async def _fill(self) -> None:
        last = self._sequences[-1] if self._sequences else self._after
        fresh = await self._log.read(last, _READ)
        self._events.extend(fresh)
        self._sequences.extend(stored.sequence for stored in fresh)
        surplus = len(self._events) - 2 * self._window
        if surplus > 0:
            cut = len(self._events) - self._window
            self._after = self._sequences[cut - 1]
            del self._events[:cut], self._sequences[:cut]
