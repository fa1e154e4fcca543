"""Plots of the results: a group of bars for each load, a bar for each server, and the spread over the rounds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.common.results import Row, figures
from bench.curves import CURVES, Curve, Point, points
from bench.latest import Measured

__all__ = ["PLOTS", "Panel", "draw", "draw_curves"]

_GROUP = 0.8
_BAR_INCHES = 0.4
_HEIGHT = 4.5
_DPI = 110
_CURVE_INCHES = 3.2
_CURVES_A_LINE = 4
_ROOM = 1.1


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure of the servers of a scenario, under some loads."""

    figure: str
    """A field of `Row`, or one of its further figures."""
    label: str
    """The figure's label, with its unit."""
    cases: str = "(.+)"
    """A regular expression that selects loads; its group is the label of each."""
    is_logarithmic: bool = False
    """Whether the scale is logarithmic, for figures of different magnitude."""


PLOTS: Final[Mapping[str, Sequence[Panel]]] = {
    "unary": (Panel("per_second", "calls a second", r"SuspendCard, (\d+ in flight), TLS"),),
    "intake": (Panel("per_second", "notifications a second"),),
    "fan-out": (Panel("per_second", "notifications delivered a second", r"(.+), burst of .+", is_logarithmic=True),),
    "replay": (
        Panel("first_ms", "until the first notification, ms", r"(10 back)"),
        Panel("per_second", "notifications a second", r"(1,000,000 back)"),
    ),
    "growth": (
        Panel("ready_ms", "until ready, ms", r"(.+) stored, start"),
        Panel("per_second", "replayed a second", r"(.+) stored, replay of .+"),
        Panel("per_second", "received a second", r"(.+) stored, intake over .+"),
    ),
    "callbacks": (Panel("per_second", "callbacks a second"),),
    "cluster": (
        Panel("per_second", "notifications a second", r"notifications, (64 connections)"),
        Panel("cpu_us", "gateway's CPU, us a notification", r"notifications, (64 connections|500/s).*"),
        Panel("nats_cpu_us", "NATS' CPU, us a notification", r"notifications, (64 connections|500/s).*"),
    ),
}
"""The panels of each scenario, side by side."""


def draw(found: Mapping[str, Measured], folder: Path) -> None:
    """Write a PNG for each scenario, named after it."""
    for scenario, panels in PLOTS.items():
        if scenario in found:
            # Without pyplot, Agg draws, which needs no display and keeps no state.
            drawing = Figure(layout="constrained")
            every = drawing.subplots(1, len(panels), squeeze=False)[0]
            widths = [_fill(axes, panel, found[scenario].rows) for axes, panel in zip(every, panels, strict=True)]
            servers, names = every[0].get_legend_handles_labels()
            if len(names) > 1:
                drawing.legend(servers, names, loc="outside upper left", ncols=len(names), frameon=False)
            drawing.set_size_inches(sum(widths), _HEIGHT)
            drawing.savefig(folder / f"{scenario}.png", dpi=_DPI)


def draw_curves(found: Mapping[str, Measured], folder: Path) -> None:
    """Write a PNG of all measured curves, ``curves.png``, each with its own scale of processor time."""
    measured = [(curve, of) for curve in CURVES if (of := points(curve, found))]
    if not measured:
        return
    drawing = Figure(layout="constrained")
    lines = ceil(len(measured) / _CURVES_A_LINE)
    every = [*drawing.subplots(lines, _CURVES_A_LINE, squeeze=False).flat]
    for axes, (curve, of) in zip(every, measured, strict=False):
        _fill_curve(axes, curve, of)
    for axes in every[len(measured) :]:
        axes.set_visible(False)
    drawing.set_size_inches(_CURVE_INCHES * _CURVES_A_LINE, _CURVE_INCHES * lines)
    drawing.savefig(folder / "curves.png", dpi=_DPI)


def _fill_curve(axes: Axes, curve: Curve, of: Sequence[Point]) -> None:
    """Draw one curve; what is extrapolated is dashed and hollow."""
    measured = [point for point in of if not point.is_extrapolated]
    middles = {point.number: median(point.cpu_us) for point in of}
    numbers = [point.number for point in measured]
    spread = (
        [middles[point.number] - min(point.cpu_us) for point in measured],
        [max(point.cpu_us) - middles[point.number] for point in measured],
    )
    axes.errorbar(numbers, [middles[number] for number in numbers], spread, marker="o", capsize=2, elinewidth=1)
    if len(measured) < len(of):
        ends = [point.number for point in of[-2:]]
        axes.plot(ends, [middles[number] for number in ends], "--o", color="C0", fillstyle="none", markevery=[1])
    axes.set_title(curve.cost_of)
    axes.set_xscale("log")
    axes.set_xlabel(f"{curve.over}, logarithmic")
    axes.set_ylabel("CPU, us, logarithmic" if curve.is_logarithmic else "CPU, us")
    if curve.is_logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, _ROOM * max(max(point.cpu_us) for point in of))
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.spines[["top", "right"]].set_visible(False)


def _fill(axes: Axes, panel: Panel, rows: Sequence[Row]) -> float:
    """Draw one panel. Return its width in inches."""
    measured = {
        (case[1], row.server): figures(row, panel.figure)
        for row in rows
        if figures(row, panel.figure) and (case := re.fullmatch(panel.cases, row.case))
    }
    cases = list(dict.fromkeys(case for case, _ in measured))
    servers = list(dict.fromkeys(server for _, server in measured))
    width = _GROUP / max(len(servers), 1)
    for place, server in enumerate(servers):
        bars = {cases.index(case): values for (case, of), values in measured.items() if of == server}
        at = [group + (place - (len(servers) - 1) / 2) * width for group in bars]
        middles = [median(values) for values in bars.values()]
        below = [median(values) - min(values) for values in bars.values()]
        above = [max(values) - median(values) for values in bars.values()]
        axes.bar(at, middles, width, yerr=(below, above), label=server, error_kw={"elinewidth": 1, "capsize": 2})
    axes.set_xticks(range(len(cases)), cases)
    axes.set_ylabel(f"{panel.label}, logarithmic" if panel.is_logarithmic else panel.label)
    axes.set_yscale("log" if panel.is_logarithmic else "linear")
    axes.yaxis.set_major_formatter("{x:,.10g}")
    axes.spines[["top", "right"]].set_visible(False)
    return 2 + _BAR_INCHES * len(measured)
