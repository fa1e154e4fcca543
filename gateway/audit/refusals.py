"""How many refusals of a caller are recorded, so that nobody fills the disk with them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["Refusals"]

_SECONDS: Final = 10.0
_MAX: Final = 20


@dataclass(slots=True)
class _Window:
    recorded: int = 0
    omitted: int = 0


class Refusals:
    """Counts the refusals of each caller in windows of ten seconds; twenty of a window are recorded one by one.

    Each caller has its own count, so that strangers cannot hide the refusals of a known caller among theirs. All who
    are not identified are one.
    """

    def __init__(self, on_omitted: Callable[[str, int], None]) -> None:
        """Take who is told, at the end of a window, how many refusals of a caller were not recorded."""
        self._on_omitted = on_omitted
        self._windows: dict[str, _Window] = {}

    def is_recorded(self, caller: str) -> bool:
        """Count a refusal. Returns whether it is to be recorded by itself."""
        window = self._windows.get(caller)
        if window is None:
            window = self._windows[caller] = _Window()
            asyncio.get_running_loop().call_later(_SECONDS, self._end, caller)
        if window.recorded < _MAX:
            window.recorded += 1
            return True
        window.omitted += 1
        return False

    def flush(self) -> None:
        """Tell now what windows have not told yet."""
        for caller in tuple(self._windows):
            self._end(caller)

    def _end(self, caller: str) -> None:
        window = self._windows.pop(caller, None)
        if window is not None and window.omitted:
            self._on_omitted(caller, window.omitted)
