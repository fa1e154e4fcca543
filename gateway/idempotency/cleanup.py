"""The markers of calls that changed nothing, where the store failed to forget them: they are to keep nobody waiting."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gateway.errors import GatewayError
from gateway.ports import KeyValueStore

__all__ = ["StaleMarkerCleaner"]

_MOST: Final = 10_000
_TICK_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 512.0
_LAST_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Removal:
    """What is still to be done about a marker."""

    name: str
    """Of its entry."""
    time: float = 0.0
    """When it is to be removed once more, by the event loop's clock."""
    pause_seconds: float = _TICK_SECONDS
    """How long to wait then."""


class StaleMarkerCleaner:
    """Removes markers as soon as the store works again, for the other instances of the gateway, which do not know them.

    The write of a marker may be late, and only then find its place, even long after the store works again: where one
    server out of several hung, it is written when that one goes on. So each marker is removed again and again, at
    pauses that double, for 17 minutes from when the store works. Each is unlike any other value, and only it is
    removed: not what took its place.
    """

    def __init__(self, store: KeyValueStore) -> None:
        """Know none yet."""
        self._store = store
        self._removals: dict[bytes, _Removal] = {}
        self._removing: asyncio.Task[None] | None = None

    def __contains__(self, marker: bytes) -> bool:
        """Tell whether a marker is known to be void."""
        return marker in self._removals

    def add(self, name: str, marker: bytes) -> None:
        """Have a marker removed.

        Args:
            name: Of the entry where it may stand, or come to stand.
            marker: The value.
        """
        while len(self._removals) >= _MOST:
            # Whoever repeats the call of the oldest one is told that its outcome is not known, which does no harm.
            del self._removals[next(iter(self._removals))]
        self._removals[marker] = _Removal(name)
        if self._removing is None or self._removing.done():
            self._removing = asyncio.create_task(self._remove())

    async def aclose(self) -> None:
        """Remove once more what there is, if that can be done within a second, and nothing after that."""
        if self._removing is not None:
            self._removing.cancel()
            await asyncio.gather(self._removing, return_exceptions=True)
        with suppress(GatewayError, TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                # The older ones have had their turns.
                for marker, removal in [*reversed(self._removals.items())]:
                    await self._store.delete(removal.name, marker)

    async def _remove(self) -> None:
        while self._removals:
            await asyncio.sleep(_TICK_SECONDS)
            # If the store fails, the others have to wait as well.
            with suppress(GatewayError):
                await self._remove_due()

    async def _remove_due(self) -> None:
        now = asyncio.get_running_loop().time()
        for marker, removal in [each for each in self._removals.items() if each[1].time <= now]:
            await self._store.delete(removal.name, marker)
            if removal.pause_seconds > _LONGEST_PAUSE_SECONDS:
                self._removals.pop(marker, None)
            removal.time = now + removal.pause_seconds
            removal.pause_seconds *= 2
