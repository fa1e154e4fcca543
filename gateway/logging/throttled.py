"""Log warnings whose number an unauthenticated client cannot inflate."""

from time import monotonic
from typing import Final

import structlog

__all__ = ["ThrottledLog"]

_PAUSE_SECONDS: Final = 10.0

_log = structlog.get_logger(__name__)


class ThrottledLog:
    """Warns of an event that any client can cause, at most once in ten seconds, or as often as it is made for."""

    def __init__(self, event: str, *, pause_seconds: float = _PAUSE_SECONDS) -> None:
        """Start with the event's name in the log, and the time after each line in which there is no other."""
        self._event = event
        self._pause_seconds = pause_seconds
        self._silent_until = float("-inf")
        self._suppressed = 0

    def warning(self, **facts: object) -> None:
        """Log the event with `facts` and the number of events suppressed before it, or suppress it."""
        now = monotonic()
        if now < self._silent_until:
            self._suppressed += 1
            return
        _log.warning(self._event, **facts, suppressed=self._suppressed)
        self._silent_until, self._suppressed = now + self._pause_seconds, 0
