"""How cost grows: processor time over calls in flight, stored notifications, watchers, issuers and handlers.

Put together from the stored results of several scenarios, for a table and a chart.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.common.report import Table
from bench.common.results import Row, figures, format_figures
from bench.latest import Measured

__all__ = ["CURVES", "Curve", "Point", "curves_table", "points"]

_GATEWAY: Final = "gateway"
_LINE: Final = 2
"""The points that determine a line."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The processor time of one thing over the number of another."""

    scenario: str
    over: str
    """What there is more and more of."""
    cost_of: str
    """What the processor time is of."""
    cases: str
    """A regular expression that selects the loads; its group is the number."""
    reason: str
    """Why it is not flat, where it is not."""
    beyond: int | None = None
    """A number to extrapolate to."""
    is_logarithmic: bool = False
    """Whether the chart's scale of cost is logarithmic."""


_PER_WAKE_UP: Final = "alone, a call pays for the wake-ups of all its sockets; together, calls share them"
_LEAST_BUSY: Final = (
    "one stream wakes the gateway for each message, several share wake-ups; "
    "the broker compares all handlers of an issuer and kind"
)
_SHARED: Final = "watchers share one intake"
_DEPTH: Final = "a larger file has deeper indexes and is less often in memory"

CURVES: Final[Sequence[Curve]] = (
    Curve("scaling", "calls in flight", "a SuspendCard", r"SuspendCard, (\d+) in flight, TLS", _PER_WAKE_UP),
    Curve(
        "scaling", "issuers", "a SuspendCard", r"SuspendCard, (\d+) issuers?", "flat: everything is looked up by key"
    ),
    Curve("scaling", "handlers", "a callback", r"callbacks, (\d+) handlers?", _LEAST_BUSY),
    Curve("growth", "stored notifications", "a notification stored", r"([\d,]+) stored, intake .+", _DEPTH, 10_000_000),
    Curve(
        "growth", "stored notifications", "a notification replayed", r"([\d,]+) stored, replay .+", _DEPTH, 10_000_000
    ),
    Curve(
        "fan-out",
        "watchers",
        "a delivery in a burst",
        r"([\d,]+) watchers?, burst .+",
        f"{_SHARED}, and batches",
        is_logarithmic=True,
    ),
    Curve(
        "fan-out",
        "watchers",
        "a delivery at a steady rate",
        r"([\d,]+) watchers?, \d+/s",
        f"{_SHARED}; what remains is a gRPC message for each watcher",
        is_logarithmic=True,
    ),
)
"""All curves, in the order of the table."""


@dataclass(frozen=True, slots=True)
class Point:
    """One number of a curve."""

    number: int
    cpu_us: Sequence[float]
    """A value for each round."""
    is_extrapolated: bool = False


def points(curve: Curve, found: Mapping[str, Measured]) -> list[Point]:
    """Return the points of a curve; empty if its scenario was not measured.

    The extrapolated one lies on the line through the last two measured ones. A cost that grows with the depth of a
    B-tree grows more slowly.
    """
    rows: Sequence[Row] = found[curve.scenario].rows if curve.scenario in found else ()
    measured = [
        Point(int(case[1].replace(",", "")), cpu_us)
        for row in rows
        if row.server == _GATEWAY
        and (cpu_us := figures(row, "cpu_us"))
        and (case := re.fullmatch(curve.cases, row.case))
    ]
    if curve.beyond is None or len(measured) < _LINE:
        return measured
    before, last = measured[-2:]
    middle, rise = median(last.cpu_us), median(last.cpu_us) - median(before.cpu_us)
    further = middle + max(0.0, rise) * (curve.beyond - last.number) / (last.number - before.number)
    return [*measured, Point(curve.beyond, [further], is_extrapolated=True)]


def curves_table(found: Mapping[str, Measured]) -> Table:
    """Return the table of all measured curves, a line for each."""
    measured = [(curve, of) for curve in CURVES if (of := points(curve, found))]
    cells = [
        [curve.over, curve.cost_of, "; ".join(map(_said, of)), f"{_growth(of):.3g}", curve.reason]
        for curve, of in measured
    ]
    return Table(["over", "CPU, us, of", "number: us", "the most, of the fewest", "because"], cells)


def _said(point: Point) -> str:
    text = f"{point.number:,}: {format_figures(point.cpu_us, spread=False)}"
    return f"*{text} (extrapolated)*" if point.is_extrapolated else text


def _growth(of: Sequence[Point]) -> float:
    measured = [point for point in of if not point.is_extrapolated]
    return median(measured[-1].cpu_us) / median(measured[0].cpu_us)
