"""The tail cache: the newest events of the log, held in memory once for all watchers of a process.

Watchers at the end of the log all want the same few events, which this window reads once. A watcher that lags behind
the window reads the log itself.
"""

import asyncio
from bisect import bisect_right

from gateway.ports import EventDamagedError, EventLog, LogBounds, Payloads, Read, Scope, StoredEvent

__all__ = ["TailCache"]

_READ_SIZE = 1000
_MAX_BYTES = 16 * 1_048_576
"""The limit on the payloads in the window, whatever their number."""
_MAX_READ_BYTES = 1_048_576
"""The limit on the payloads of one read, apart from its last event, because a lagging watcher holds them for long."""
_NOT_STARTED = -1


class TailCache:
    """A window over the end of a log."""

    def __init__(self, log: EventLog, *, window: int = 4096) -> None:
        """Start with an empty window.

        Args:
            log: The log to read.
            window: The least number of events to hold, once there are that many; fewer if they are large.
        """
        self._log = log
        self._window = window
        self._events: list[StoredEvent] = []
        self._sequences: list[int] = []
        self._bytes = 0
        self._after = _NOT_STARTED
        self._bounds = LogBounds(0, 0)
        self._filling: asyncio.Event | None = None

    async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
        """Read at most ``limit`` events after a sequence, in order; fewer if there are no more or they are large.

        Events from the window ignore the scope.
        """
        if not await self._reach(after):
            return await self._log.read(after, limit, scope)
        return self._read(after, limit)

    async def read_payloads(self, after: int, limit: int, issuer_id: str) -> Payloads:
        """As `read`, but the payloads alone, and those of one issuer's events only."""
        if not await self._reach(after):
            return await self._log.read_payloads(after, limit, issuer_id)
        return Payloads.of(self._read(after, limit), lambda event: event.issuer_id == issuer_id)

    def _read(self, after: int, limit: int) -> Read:
        found = self._find(after, limit)
        return Read(found, found[-1].sequence if found else after, self._bounds)

    async def _reach(self, after: int) -> bool:
        """Fill the window for a reader at its end. Returns whether it has what follows, if anything does."""
        if self._after == _NOT_STARTED:
            bounds = await self._log.bounds()
            # The first of several readers decides: the window may hold events already.
            if self._after == _NOT_STARTED:
                self._after, self._bounds = bounds.last, bounds
        while after >= self._after and not self._find(after, 1):
            if self._filling is None:
                if after - self._last() > _READ_SIZE:
                    # Nobody has read for long. Only lagging watchers, if any, need what came in the meantime.
                    self._restart(after)
                try:
                    await self._fill()
                except EventDamagedError as error:
                    # Those before it get the error from the log.
                    self._restart(error.sequence)
                    continue
                break
            # All readers continue at once. If the filling one failed or was cancelled, one of them fills again.
            await self._filling.wait()
        # Only now, because the window may have moved while this waited.
        return after >= self._after

    def _restart(self, after: int) -> None:
        self._after = after
        del self._events[:], self._sequences[:]
        self._bytes = 0

    def _last(self) -> int:
        return self._sequences[-1] if self._sequences else self._after

    def _find(self, after: int, limit: int) -> list[StoredEvent]:
        start = bisect_right(self._sequences, after)
        found = self._events[start : start + limit]
        size = 0
        for count, stored in enumerate(found, 1):
            size += len(stored.event.payload)
            if size >= _MAX_READ_BYTES:
                return found[:count]
        return found

    async def _fill(self) -> None:
        last = self._last()
        filled = self._filling = asyncio.Event()
        try:
            fresh, _, self._bounds = await self._log.read(last, _READ_SIZE)
        finally:
            self._filling = None
            filled.set()
        self._events.extend(fresh)
        self._sequences.extend(stored.sequence for stored in fresh)
        self._bytes += sum(len(stored.event.payload) for stored in fresh)
        if len(self._events) > 2 * self._window or self._bytes > _MAX_BYTES:
            self._shrink()

    def _shrink(self) -> None:
        count = size = 0
        for stored in self._events[: -self._window - 1 : -1]:
            if size + len(stored.event.payload) > _MAX_BYTES // 2:
                break
            size += len(stored.event.payload)
            count += 1
        cut = len(self._events) - count
        self._after = self._sequences[cut - 1]
        self._bytes = size
        del self._events[:cut], self._sequences[:cut]
