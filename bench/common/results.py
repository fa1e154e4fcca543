"""Results of measurements as plain numbers, and comparisons of two servers."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Protocol

__all__ = ["Measure", "Row", "figures", "find", "format_figures", "ratio", "ratios"]

_SIGNIFICANT = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One server under one load, a value for each round. Figures not measured are empty."""

    scenario: str
    """The scenario: ``unary``, ``intake``, ``fan-out``."""
    case: str
    """The load as a label: ``32 in flight, TLS``."""
    server: str
    """``gateway``, or the name of a baseline."""
    per_second: Sequence[float] = ()
    """Requests, or notifications delivered."""
    p50_ms: Sequence[float] = ()
    p95_ms: Sequence[float] = ()
    p99_ms: Sequence[float] = ()
    cpu_us: Sequence[float] = ()
    """The server's processor time per request, in microseconds."""
    rss_mib: Sequence[float] = ()
    """The server's resident memory at the end of the round."""
    more: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Further figures of the scenario, by name with unit."""


class Measure(Protocol):
    """Measures one scenario."""

    def __call__(self, folder: Path, *, quick: bool) -> Awaitable[list[Row]]:
        """Measure it.

        Args:
            folder: An empty folder for all files.
            quick: Whether to measure only what the floors of a quick run need.
        """
        ...


def find(rows: Iterable[Row], scenario: str, case: str, server: str) -> Row:
    """Return the row of one server under one load.

    Raises:
        LookupError: There is none.
    """
    for row in rows:
        if (row.scenario, row.case, row.server) == (scenario, case, server):
            return row
    raise LookupError(f"{scenario}: no result of {server!r} with {case!r}")


def figures(row: Row, name: str) -> Sequence[float]:
    """Return a row's field or further figure by name; one value per round, none if not measured."""
    values: Sequence[float] = getattr(row, name) if name in Row.__slots__ else row.more.get(name, ())
    return values


def ratios(row: Row, other: Row) -> list[float]:
    """Return the ratios of the rates, round by round: other activity on the machine affects both of a round alike."""
    return [ours / theirs for ours, theirs in zip(row.per_second, other.per_second, strict=True)]


def ratio(row: Row, other: Row) -> float:
    """Return the ratio of the rates: the median over the rounds."""
    return median(ratios(row, other))


def format_figures(values: Sequence[float], *, spread: bool = True) -> str:
    """Format the median with minimum and maximum: ``1,234 (1,100-1,300)``; empty without values.

    Args:
        values: One per round.
        spread: Whether to include minimum and maximum.
    """
    if not values:
        return ""
    middle = _format(median(values))
    return f"{middle} ({_format(min(values))}-{_format(max(values))})" if spread and len(values) > 1 else middle


def _format(value: float) -> str:
    digits = max(0, _SIGNIFICANT - len(str(int(abs(value))))) if value else 0
    return f"{value:,.{digits}f}"
