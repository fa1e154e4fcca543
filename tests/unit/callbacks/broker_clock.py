"""Time that passes only when a test says so."""

import heapq
from collections.abc import Callable
from itertools import count

__all__ = ["VirtualClock", "VirtualTimer"]


class VirtualTimer:
    """Something that a clock shall call."""

    __slots__ = ("_args", "_callback", "is_cancelled")

    def __init__(self, callback: Callable[..., object], args: tuple[object, ...]) -> None:
        self._callback = callback
        self._args = args
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def run(self) -> None:
        self._callback(*self._args)


class VirtualClock:
    """A `gateway.aio.clock.Clock`: timers run in the order of their times, those of one time as they were made."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._numbers = count()
        self._timers: list[tuple[float, int, VirtualTimer]] = []

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[..., object], /, *args: object) -> VirtualTimer:
        timer = VirtualTimer(callback, args)
        self.add(when, timer)
        return timer

    def add(self, when: float, timer: VirtualTimer) -> None:
        heapq.heappush(self._timers, (when, next(self._numbers), timer))

    @property
    def pending(self) -> int:
        """How many timers will still run."""
        return sum(not timer.is_cancelled for _, _, timer in self._timers)

    @property
    def next_time(self) -> float | None:
        """When the next timer is due; None if there is none."""
        while self._timers and self._timers[0][2].is_cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    @property
    def is_behind(self) -> bool:
        """Whether a timer is due that has not run, as after a stall of the event loop."""
        next_time = self.next_time
        return next_time is not None and next_time <= self._now

    def run_until(self, when: float) -> None:
        """Let time pass, and each timer run at its time."""
        timers = self._timers
        while timers and timers[0][0] <= when:
            due, _, timer = heapq.heappop(timers)
            if not timer.is_cancelled:
                self._now = max(self._now, due)
                timer.run()
        self._now = max(self._now, when)

    def run_for(self, seconds: float) -> None:
        self.run_until(self._now + seconds)

    def stall_until(self, when: float) -> None:
        """Let time pass, and timers wait: an event loop learns of a reply before it runs what is due."""
        self._now = max(self._now, when)
