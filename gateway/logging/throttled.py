"""Log lines that a stranger cannot multiply."""

from time import monotonic
from typing import Final

import structlog

__all__ = ["Occasion"]

_SILENCE_SECONDS: Final = 10.0

_log = structlog.get_logger(__name__)


class Occasion:
    """Something that anybody who connects can make happen as often as they like: it is logged now and then."""

    def __init__(self, event: str) -> None:
        """Prepare.

        Args:
            event: What happens, for the log.
        """
        self._event = event
        self._silent_until = float("-inf")
        self._untold = 0

    def tell(self, **facts: object) -> None:
        """Log that it happened, unless it was logged within the last 10 s; then how often it was not.

        Args:
            facts: Go into the line.
        """
        now = monotonic()
        if now < self._silent_until:
            self._untold += 1
            return
        _log.warning(self._event, **facts, untold=self._untold)
        self._silent_until, self._untold = now + _SILENCE_SECONDS, 0
