"""How many calls per second the backfills of an issuer make, and when they pause."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import ceil
from typing import Final, NamedTuple

from gateway.errors import Reason

__all__ = ["Budget", "Pause"]

_SECONDS_IN_FLIGHT: Final = 0.2
"""A platform that takes longer for a call gets fewer per second: it has enough to do."""


class Pause(NamedTuple):
    """A pause of an issuer's backfills."""

    reason: Reason
    """What the call before it failed with."""
    seconds: float
    """How long it lasts from now on."""


class Budget:
    """The calls of one issuer's backfills at this gateway: they share a rate, and a pause stops all of them.

    Calls begin in order of arrival. With a rate of up to five per second, one is in flight at a time.
    """

    def __init__(self, calls_per_second: float) -> None:
        """Grant the first call at once."""
        self._interval_seconds = 1 / calls_per_second
        self.max_in_flight = ceil(calls_per_second * _SECONDS_IN_FLIGHT)
        """The most calls at a time."""
        self._in_flight = asyncio.Semaphore(self.max_in_flight)
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

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """Wait until the next call may begin; it ends with the context."""
        async with self._in_flight:
            await self.wait_turn()
            yield

    async def wait_turn(self) -> None:
        """Wait as for a call, without one."""
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
