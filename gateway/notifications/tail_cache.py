"""The newest part of the log, held in memory once for all watchers of a process.

Watchers at the end of the log all want the same few events; this window reads them from the log once. A watcher that
lags behind the window reads the log itself.
"""

import asyncio
from bisect import bisect_right

from gateway.ports import EventLog, LogBounds, Read, Scope, StoredEvent

__all__ = ["TailCache"]

_READ = 1000
_MOST_BYTES = 16 * 1_048_576
"""How large the payloads in the window may become, whatever their number."""
_MOST_BYTES_READ = 1_048_576
"""How large the payloads of one read may become, but for its last event: a watcher that lags holds them for long."""
_NOT_BEGUN = -1


class TailCache:
    """Reads a log through a window over its end."""

    def __init__(self, log: EventLog, *, window: int = 4096) -> None:
        """Make the window.

        Args:
            log: What to read.
            window: How many events it holds at least, once there are as many; fewer where they are large.
        """
        self._log = log
        self._window = window
        self._events: list[StoredEvent] = []
        self._sequences: list[int] = []
        self._bytes = 0
        self._after = _NOT_BEGUN
        self._bounds = LogBounds(0, 0)
        self._filling: asyncio.Event | None = None

    async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
        """Read at most ``limit`` events after a sequence, in order; none if there are none, fewer if they are large.

        What the window holds is given out whole, whatever the scope.
        """
        if self._after == _NOT_BEGUN:
            bounds = await self._log.bounds()
            # Whoever was answered first decides: the window may hold events already.
            if self._after == _NOT_BEGUN:
                self._after, self._bounds = bounds.last, bounds
        while after >= self._after and not self._find(after, 1):
            if self._filling is None:
                if after - self._last() > _READ:
                    # Nobody has read for long. What came meanwhile is for those that lag, if there are any.
                    self._after = after
                    del self._events[:], self._sequences[:]
                    self._bytes = 0
                await self._fill()
                break
            # All go on at once when it is done, or one of them makes up for who was cancelled or failed.
            await self._filling.wait()
        # Looked at after all waiting: the window moves on meanwhile.
        if after < self._after:
            return await self._log.read(after, limit, scope)
        found = self._find(after, limit)
        return Read(found, found[-1].sequence if found else after, self._bounds)

    def _last(self) -> int:
        return self._sequences[-1] if self._sequences else self._after

    def _find(self, after: int, limit: int) -> list[StoredEvent]:
        start = bisect_right(self._sequences, after)
        found = self._events[start : start + limit]
        size = 0
        for count, stored in enumerate(found, 1):
            size += len(stored.event.payload)
            if size >= _MOST_BYTES_READ:
                return found[:count]
        return found

    async def _fill(self) -> None:
        last = self._last()
        filled = self._filling = asyncio.Event()
        try:
            fresh, _, self._bounds = await self._log.read(last, _READ)
        finally:
            self._filling = None
            filled.set()
        self._events.extend(fresh)
        self._sequences.extend(stored.sequence for stored in fresh)
        self._bytes += sum(len(stored.event.payload) for stored in fresh)
        if len(self._events) > 2 * self._window or self._bytes > _MOST_BYTES:
            self._shrink()

    def _shrink(self) -> None:
        kept = size = 0
        for stored in self._events[: -self._window - 1 : -1]:
            if size + len(stored.event.payload) > _MOST_BYTES // 2:
                break
            size += len(stored.event.payload)
            kept += 1
        cut = len(self._events) - kept
        self._after = self._sequences[cut - 1]
        self._bytes = size
        del self._events[:cut], self._sequences[:cut]
