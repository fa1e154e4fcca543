"""How long to wait before what died is started again."""

from typing import Final

__all__ = ["Backoff"]

_FIRST_SECONDS: Final = 0.5
_MOST_SECONDS: Final = 10.0
_WELL_SECONDS: Final = 60.0


class Backoff:
    """Waits twice as long after each death, up to 10 s; from the beginning again after a minute's life."""

    def __init__(self) -> None:
        self._next_seconds = _FIRST_SECONDS

    def seconds_after(self, lived_seconds: float) -> float:
        """Tell how long to wait now.

        Args:
            lived_seconds: How long the one that died had served; 0 if it never did.
        """
        if lived_seconds >= _WELL_SECONDS:
            self._next_seconds = _FIRST_SECONDS
        seconds = self._next_seconds
        self._next_seconds = min(2 * seconds, _MOST_SECONDS)
        return seconds
