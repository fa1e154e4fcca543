"""How the page writes numbers, sizes, durations and times."""

from datetime import UTC, datetime
from typing import Final

from gateway.operators.markup import Element, element

__all__ = ["bytes_", "count", "duration", "moment", "words"]

_UNITS: Final = ((31_536_000, "y"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_GAP: Final = "\N{NO-BREAK SPACE}"
_MAX_ONE_UNIT: Final = 10
"""From this many of a unit on, the next smaller one tells nothing."""
_THOUSAND: Final = 1000
_SMALL: Final = 10


def count(number: float) -> str:
    """Write a whole number, with thousands divided."""
    return f"{round(number):,}"


def bytes_(size: float) -> str:
    """Write a size, with its sign if it is negative."""
    value, left = abs(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= _THOUSAND and len(left) > 1:
        value /= _THOUSAND
        left.pop(0)
    digits = 1 if value < _SMALL and left[0] != "B" else 0
    return f"{'−' if size < 0 else ''}{value:.{digits}f}{_GAP}{left[0]}"  # noqa: RUF001  the sign for numbers


def duration(seconds: float) -> str:
    """Write a duration in its largest unit, and the next one if that still tells something."""
    left = max(0, int(seconds))
    for place, (size, unit) in enumerate(_UNITS):
        whole, rest = divmod(left, size)
        if whole:
            smaller, name = _UNITS[min(place + 1, len(_UNITS) - 1)]
            part = rest // smaller
            more = f" {part}{_GAP}{name}" if part and whole < _MAX_ONE_UNIT else ""
            return f"{whole}{_GAP}{unit}{more}"
    return f"0{_GAP}s"


def moment(time: float, now: float) -> Element:
    """Write a time relative to now, with the absolute one in its title; both in seconds since 1970 (UTC)."""
    try:
        at = datetime.fromtimestamp(time, UTC)
    except (OverflowError, ValueError, OSError):
        return element("span", "at no time that a calendar has")
    passed = now - time
    text = "now" if 0 <= passed < 1 else f"{duration(passed)} ago" if passed > 0 else f"in {duration(-passed)}"
    return element("time", text, datetime=f"{at:%Y-%m-%dT%H:%M:%SZ}", title=f"{at:%Y-%m-%d %H:%M:%S} UTC")


def words(name: str) -> str:
    """Write a name in snake_case, in either case, as words."""
    return name.replace("_", " ").lower()
