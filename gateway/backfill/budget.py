"""How many calls per second the backfills of an issuer make, and when they pause."""

import asyncio
from typing import NamedTuple

from gateway.errors import Reason

__all__ = ["Budget", "Pause"]


class Pause(NamedTuple):
    """A pause of an issuer's backfills."""

    reason: Reason
    """What the call before it failed with."""
    seconds: float
    """How long it lasts from now on."""


class Budget:
    """The calls of one issuer's backfills at this gateway: they share a rate, and a pause stops all of them.

    Calls are granted in order of arrival.
    """

    def __init__(self, calls_per_second: float) -> None:
        """Grant the first call at once."""
        self._interval_seconds = 1 / calls_per_second
        self._clock = asyncio.get_running_loop().time
        self._turn = asyncio.Lock()
        self._next_call = self._clock()
        self._pause_reason: Reason | None = None
        self._pause_end = 0.0

    @property
    def current_pause(self) -> Pause | None:
        """The present pause; None if there is none."""
        left = self._pause_end - self._clock()
        return None if self._pause_reason is None or left <= 0 else Pause(self._pause_reason, left)

    async def take(self) -> None:
        """Wait until the next call may be made."""
        async with self._turn:
            # A pause may begin, or be prolonged, meanwhile.
            while (seconds := max(self._next_call, self._pause_end) - self._clock()) > 0:  # noqa: ASYNC110  a time
                await asyncio.sleep(seconds)
            self._next_call = self._clock() + self._interval_seconds

    def pause(self, pause: Pause) -> None:
        """Make no call for a time; a longer pause that has begun before stays."""
        end = self._clock() + pause.seconds
        if end > self._pause_end:
            self._pause_end, self._pause_reason = end, pause.reason
