"""A circuit breaker: stops requests to a failing upstream for a while, then probes it with a single one."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gateway.ports.meter import CircuitState

__all__ = ["Attempt", "CircuitBreaker"]

_FIRST_PAUSE_SECONDS: Final = 0.5
_PAUSE_GROWTH: Final = 2.0


class Attempt:
    """A request that the breaker lets through."""

    __slots__ = ("succeeded",)

    def __init__(self) -> None:
        self.succeeded: bool | None = None
        """Whether the upstream did its part; None if the request proves nothing about the upstream."""


class CircuitBreaker:
    """The circuit of one upstream: a state machine on a clock, without I/O and timers.

    Closed, it lets all requests through; consecutive failures open it. Open, it blocks all requests until a pause is
    over, then lets a single probe through (half open). If the probe fails, the next pause is longer, up to a limit; if
    it succeeds, the circuit closes. A probe that takes longer than the longest pause does not delay the next probe, so
    a recovery is found within that time even if earlier requests never get a response.
    """

    def __init__(
        self,
        *,
        failures: int,
        max_pause_seconds: float,
        on_state_change: Callable[[CircuitState], None],
        clock: Callable[[], float],
        spread: Callable[[], float] = random.random,
    ) -> None:
        """Start closed.

        Args:
            failures: Consecutive failures that open the circuit.
            max_pause_seconds: Longest time for which all requests are blocked.
            on_state_change: Called with the initial state and with each new one.
            clock: Monotonic time in seconds.
            spread: Random numbers from 0 to 1, so that the gateway's instances do not all probe at the same moment.
        """
        self._failures = failures
        self._max_pause_seconds = max_pause_seconds
        self._on_state_change = on_state_change
        self._clock = clock
        self._spread = spread
        self._failed = 0
        self._pause_seconds = 0.0
        self._next_probe = 0.0
        # Counts openings and closings: the result of a request sent before the last one is out of date.
        self._generation = 0
        self._state: CircuitState = "closed"
        on_state_change(self._state)

    def seconds_left(self) -> float:
        """Return for how long requests are blocked; 0 if the next one is let through."""
        return 0.0 if self._state == "closed" else max(0.0, self._next_probe - self._clock())

    @contextmanager
    def attempt(self, *, is_background: bool = False) -> Iterator[Attempt]:
        """Let one request through. Enter only while `seconds_left` is 0.

        Args:
            is_background: Whether it counts as a probe only. Many calls of one kind in the background would decide
                whether others are let through, which may fare otherwise.
        """
        attempt, generation = Attempt(), self._generation
        counts = self._state != "closed" or not is_background
        if self._state != "closed":
            self._next_probe = self._clock() + self._max_pause_seconds
            self._enter("half_open")
        try:
            yield attempt
        finally:
            if counts and generation == self._generation:
                self._settle(attempt.succeeded)

    def _settle(self, succeeded: bool | None) -> None:  # noqa: FBT001 (the attempt's own result)
        if succeeded:
            self._failed = 0
            self._close()
        elif succeeded is False:
            self._failed += 1
            if self._state != "closed" or self._failed >= self._failures:
                self._open()
        elif self._state == "half_open":
            # The probe was abandoned; the next request becomes the probe.
            self._next_probe = self._clock()

    def _close(self) -> None:
        if self._state != "closed":
            self._generation += 1
            self._enter("closed")

    def _open(self) -> None:
        if self._state == "closed":
            self._generation += 1
            self._pause_seconds = _FIRST_PAUSE_SECONDS
        else:
            self._pause_seconds *= _PAUSE_GROWTH
        self._pause_seconds = min(self._pause_seconds, self._max_pause_seconds)
        self._next_probe = self._clock() + self._pause_seconds * (0.5 + 0.5 * self._spread())
        self._enter("open")

    def _enter(self, state: CircuitState) -> None:
        if state != self._state:
            self._state = state
            self._on_state_change(state)
