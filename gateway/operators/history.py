"""The last hour, in memory: sums every ten seconds, and from them what happened in each minute."""

import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry

from gateway.aio.clock import every
from gateway.errors import GatewayError
from gateway.operators.registry import CHARTS, split
from gateway.ports import EventLog

__all__ = ["MINUTES", "Growth", "History", "Minute", "Sums"]

MINUTES: Final = 60
_SAMPLE_SECONDS: Final = 10.0
_MAX_SAMPLES: Final = int(MINUTES * 60 / _SAMPLE_SECONDS) + 1
_MIN_GROWTH_SECONDS: Final = 60.0

Sums: TypeAlias = Mapping[str, tuple[float, float]]
"""What went well and what did not since the start, by the name of its chart."""

Minute: TypeAlias = "tuple[float, float] | None"
"""What went well and what did not in a minute; None if nothing is known of it."""


class Growth(NamedTuple):
    """The growth of the event log."""

    notifications_per_hour: float
    bytes_per_hour: float


class _Sample(NamedTuple):
    time: float
    sums: Sums
    last_sequence: float
    log_bytes: float


class History:
    """Takes samples; there are never more than those of an hour."""

    def __init__(
        self,
        registry: CollectorRegistry,
        log: EventLog,
        log_bytes: Callable[[], int],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start without samples.

        Args:
            registry: The metrics to sample.
            log: The event log whose growth to measure.
            log_bytes: Returns its size, as of the last call of its `bounds`.
            clock: Time in seconds since 1970.
        """
        self._registry = registry
        self._log = log
        self._log_bytes = log_bytes
        self._clock = clock
        self._samples: deque[_Sample] = deque(maxlen=_MAX_SAMPLES)

    @asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """Take a sample now and every ten seconds, for as long as the context lasts."""
        await self.sample()
        async with every(_SAMPLE_SECONDS, self.sample):
            yield

    async def sample(self) -> None:
        """Take a sample."""
        try:
            last, size = float((await self._log.bounds()).last), float(self._log_bytes())
        except (GatewayError, OSError):
            last = size = math.nan
        self._samples.append(_Sample(self._clock(), self._sums(), last, size))

    def _sums(self) -> Sums:
        return {chart: split(self._registry, chart) for chart in CHARTS}

    @property
    def minutes(self) -> Mapping[str, Sequence[Minute]]:
        """What happened in each minute of the last hour, up to now, by the name of the chart."""
        now = _Sample(self._clock(), self._sums(), math.nan, math.nan)
        current = int(now.time // 60)
        found: dict[str, dict[int, tuple[float, float]]] = {chart: {} for chart in now.sums}
        for before, after in pairwise((*self._samples, now)):
            minute = int(after.time // 60)
            for chart, happened in found.items():
                well, badly = happened.get(minute, (0.0, 0.0))
                (good, bad), (more_good, more_bad) = before.sums[chart], after.sums[chart]
                happened[minute] = well + more_good - good, badly + more_bad - bad
        return {
            chart: [happened.get(minute) for minute in range(current - MINUTES + 1, current + 1)]
            for chart, happened in found.items()
        }

    @property
    def growth(self) -> Growth | None:
        """The growth of the event log in the last hour; None as long as too little is known."""
        known = [sample for sample in self._samples if not math.isnan(sample.log_bytes)]
        if not known or (seconds := known[-1].time - known[0].time) < _MIN_GROWTH_SECONDS:
            return None
        first, last = known[0], known[-1]
        hours = seconds / 3600
        return Growth((last.last_sequence - first.last_sequence) / hours, (last.log_bytes - first.log_bytes) / hours)
