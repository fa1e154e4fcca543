"""What a measurement found: plain numbers, to be written down and drawn, and how those of two servers compare."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Protocol

__all__ = ["Measure", "Row", "figures", "find", "format_figures", "ratio", "ratios"]

_SIGNIFICANT = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One server under one load, a value for each round. What was not measured is empty."""

    scenario: str
    """What is measured: ``unary``, ``intake``, ``fan-out``."""
    case: str
    """Under which load, in words: ``32 in flight, TLS``."""
    server: str
    """``gateway``, or the name of a baseline."""
    per_second: Sequence[float] = ()
    """Requests, or notifications delivered."""
    p50_ms: Sequence[float] = ()
    p95_ms: Sequence[float] = ()
    p99_ms: Sequence[float] = ()
    cpu_us: Sequence[float] = ()
    """Microseconds of the server's processor time for each request."""
    rss_mib: Sequence[float] = ()
    """The server's resident memory at the end of the round."""
    more: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Whatever else the scenario measures, by its name with its unit."""


class Measure(Protocol):
    """Measures one scenario."""

    def __call__(self, folder: Path, *, quick: bool) -> Awaitable[list[Row]]:
        """Measure it.

        Args:
            folder: An empty one, for all that is written.
            quick: Whether to measure only what the floors of a quick run need.
        """
        ...


def find(rows: Iterable[Row], scenario: str, case: str, server: str) -> Row:
    """Find the row of one server under one load.

    Raises:
        LookupError: There is none.
    """
    for row in rows:
        if (row.scenario, row.case, row.server) == (scenario, case, server):
            return row
    raise LookupError(f"{scenario}: nothing was measured of {server!r} with {case!r}")


def figures(row: Row, name: str) -> Sequence[float]:
    """Get the figures of a row's field, or of what more it has, by name; one a round, none if it was not measured."""
    values: Sequence[float] = getattr(row, name) if name in Row.__slots__ else row.more.get(name, ())
    return values


def ratios(row: Row, other: Row) -> list[float]:
    """Divide one's rate by the other's, round by round: what else the machine does touches both of a round alike."""
    return [ours / theirs for ours, theirs in zip(row.per_second, other.per_second, strict=True)]


def ratio(row: Row, other: Row) -> float:
    """Tell the ratio of their rates: the median over the rounds."""
    return median(ratios(row, other))


def format_figures(values: Sequence[float], *, spread: bool = True) -> str:
    """Write the median, with the lowest and the highest: ``1,234 (1,100-1,300)``; nothing if there are no values.

    Args:
        values: One a round.
        spread: Whether to write the lowest and the highest.
    """
    if not values:
        return ""
    middle = _format(median(values))
    return f"{middle} ({_format(min(values))}-{_format(max(values))})" if spread and len(values) > 1 else middle


def _format(value: float) -> str:
    digits = max(0, _SIGNIFICANT - len(str(int(abs(value))))) if value else 0
    return f"{value:,.{digits}f}"
