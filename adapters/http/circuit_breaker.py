"""A circuit breaker: an upstream that keeps failing is left alone for a moment, and tried again with one request."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gateway.ports.meter import CircuitState

__all__ = ["Attempt", "CircuitBreaker"]

_FIRST_PAUSE_SECONDS: Final = 0.5
_PAUSE_GROWTH: Final = 2.0


class Attempt:
    """A request that the breaker let through. One that ends without a word says nothing of the upstream."""

    __slots__ = ("went_well",)

    def __init__(self) -> None:
        self.went_well: bool | None = None
        """Whether the upstream did its part; None while, and if, that cannot be told."""


class CircuitBreaker:
    """The circuit of one upstream: a state machine on a clock, without I/O and without timers.

    Closed, it lets every request through; failures in a row open it. Open, it lets none through until a pause is over,
    and then one to try (half open). If that one fails the next pause is longer, up to a limit; if it goes well the
    circuit closes. A try that takes longer than the longest pause does not hold up the next one: an upstream that comes
    back is found out within that time, whatever became of the requests that it never answered.
    """

    def __init__(
        self,
        *,
        failures: int,
        max_pause_seconds: float,
        note: Callable[[CircuitState], None],
        clock: Callable[[], float],
        spread: Callable[[], float] = random.random,
    ) -> None:
        """Begin closed.

        Args:
            failures: How many in a row open it.
            max_pause_seconds: For how long at most no request is let through.
            note: Told of the state now, and whenever it changes.
            clock: Seconds of a clock that never goes back.
            spread: Numbers from 0 to 1, so that the instances of a gateway do not all try at the same moment.
        """
        self._failures = failures
        self._max_pause_seconds = max_pause_seconds
        self._note = note
        self._clock = clock
        self._spread = spread
        self._failed = 0
        self._pause_seconds = 0.0
        self._next_try = 0.0
        # Counts how often it opened and closed: what a request says that went out before is out of date.
        self._era = 0
        self._state: CircuitState = "closed"
        note(self._state)

    def seconds_left(self) -> float:
        """Tell for how long no request is let through; 0 if the next one is."""
        return 0.0 if self._state == "closed" else max(0.0, self._next_try - self._clock())

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """Let one request through. To be entered only while `seconds_left` is 0."""
        attempt, era = Attempt(), self._era
        if self._state != "closed":
            self._next_try = self._clock() + self._max_pause_seconds
            self._enter("half_open")
        try:
            yield attempt
        finally:
            if era == self._era:
                self._settle(attempt.went_well)

    def _settle(self, went_well: bool | None) -> None:  # noqa: FBT001 (what the attempt says)
        if went_well:
            self._failed = 0
            self._close()
        elif went_well is False:
            self._failed += 1
            if self._state != "closed" or self._failed >= self._failures:
                self._open()
        elif self._state == "half_open":
            # The one to try was given up, and leaves that to the next.
            self._next_try = self._clock()

    def _close(self) -> None:
        if self._state != "closed":
            self._era += 1
            self._enter("closed")

    def _open(self) -> None:
        if self._state == "closed":
            self._era += 1
            self._pause_seconds = _FIRST_PAUSE_SECONDS
        else:
            self._pause_seconds *= _PAUSE_GROWTH
        self._pause_seconds = min(self._pause_seconds, self._max_pause_seconds)
        self._next_try = self._clock() + self._pause_seconds * (0.5 + 0.5 * self._spread())
        self._enter("open")

    def _enter(self, state: CircuitState) -> None:
        if state != self._state:
            self._state = state
            self._note(state)
