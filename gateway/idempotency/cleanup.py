"""Removes stale markers: those of calls that changed nothing, which the store failed to remove."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gateway.errors import GatewayError
from gateway.ports import KeyValueStore

__all__ = ["StaleMarkerCleaner"]

_MAX_MARKERS: Final = 10_000
_TICK_SECONDS: Final = 0.25
_MAX_PAUSE_SECONDS: Final = 512.0
_CLOSE_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Removal:
    """The pending removal of a marker."""

    name: str
    """The name of the entry."""
    time: float = 0.0
    """The time of the next attempt, by the event loop's clock."""
    pause_seconds: float = _TICK_SECONDS
    """The pause after that attempt."""


class StaleMarkerCleaner:
    """Removes stale markers once the store works again, because other instances do not know that they are stale.

    A late write of a marker may arrive long after the store works again, for example when one of several servers hung
    and then resumes. So each marker is removed repeatedly, at pauses that double, for 17 minutes from when the store
    works. Markers are unique, so a removal never hits the value that took a marker's place.
    """

    def __init__(self, store: KeyValueStore) -> None:
        """Start without markers."""
        self._store = store
        self._removals: dict[bytes, _Removal] = {}
        self._removing: asyncio.Task[None] | None = None

    def __contains__(self, marker: bytes) -> bool:
        """Return whether a marker is known to be stale."""
        return marker in self._removals

    def add(self, name: str, marker: bytes) -> None:
        """Schedule the removal of a marker.

        Args:
            name: The entry that has the marker, or may still get it.
            marker: The value.
        """
        while len(self._removals) >= _MAX_MARKERS:
            # A repetition of the oldest call then gets outcome UNKNOWN, which does no harm.
            del self._removals[next(iter(self._removals))]
        self._removals[marker] = _Removal(name)
        if self._removing is None or self._removing.done():
            self._removing = asyncio.create_task(self._remove())

    async def aclose(self) -> None:
        """Try to remove all markers once more, for at most a second, and stop."""
        if self._removing is not None:
            self._removing.cancel()
            await asyncio.gather(self._removing, return_exceptions=True)
        with suppress(GatewayError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                # Newest first: the older ones have had their attempts.
                for marker, removal in [*reversed(self._removals.items())]:
                    await self._store.delete(removal.name, marker)

    async def _remove(self) -> None:
        while self._removals:
            await asyncio.sleep(_TICK_SECONDS)
            # If the store fails, the remaining markers wait for the next tick.
            with suppress(GatewayError):
                await self._remove_due()

    async def _remove_due(self) -> None:
        now = asyncio.get_running_loop().time()
        for marker, removal in [each for each in self._removals.items() if each[1].time <= now]:
            await self._store.delete(removal.name, marker)
            if removal.pause_seconds > _MAX_PAUSE_SECONDS:
                self._removals.pop(marker, None)
            removal.time = now + removal.pause_seconds
            removal.pause_seconds *= 2
