"""Small charts of the last hour: a bar for each minute, drawn as SVG."""

from collections.abc import Sequence
from typing import Final

from gateway.operators import wording
from gateway.operators.history import MINUTES, Minute
from gateway.operators.markup import Element, element

__all__ = ["chart"]

_WIDTH, _HEIGHT = MINUTES * 5, 56
_BAR_WIDTH: Final = 4
_LEAST_WELL, _LEAST_BADLY = 1.0, 6.0
"""Heights of the smallest bars: a single failure has to be seen beside thousands that went well."""


def chart(name: str, minutes: Sequence[Minute], *, title: str, well: str, badly: str = "") -> Element:
    """Return a chart with its figures.

    Args:
        name: Its id.
        minutes: What happened in each minute, the latest last.
        title: What is counted.
        well: The word for what went well.
        badly: The word for what did not; empty if all goes well.
    """
    known = [minute for minute in minutes if minute is not None]
    good, bad = (round(sum(minute[place] for minute in known)) for place in (0, 1))
    most = max((sum(minute) for minute in known), default=0.0)
    failed = f", {wording.count(bad)} {badly}" if badly else ""
    label = f"{title} in the last hour: {wording.count(good)} {well}{failed}; peak {wording.count(most)} a minute"
    return element(
        "figure",
        element("figcaption", title, class_="chart-title"),
        element(
            "p",
            element("span", wording.count(good), class_="figure", data_moves=True),
            f" {well}",
            class_="well",
        ),
        element(
            "p",
            element("span", wording.count(bad), class_="figure", data_moves=True),
            f" {badly}",
            class_="badly some" if bad else "badly",
        )
        if badly
        else None,
        _drawing(minutes, max(most, 1.0), label),
        element(
            "p",
            element("span", "1 h ago"),
            element("span", f"peak {wording.count(most)}/min" if most else ""),
            element("span", "now"),
            class_="axis",
        ),
        class_="chart",
        id=f"chart-{name}",
    )


def _drawing(minutes: Sequence[Minute], most: float, label: str) -> Element:
    unknown, well, badly = [], [], []
    for place, minute in enumerate(minutes):
        left = place * (_BAR_WIDTH + 1)
        if minute is None:
            unknown.append(_bar(left, _HEIGHT, _HEIGHT, _BAR_WIDTH + 1))
            continue
        good, bad = _height(minute[0], most, _LEAST_WELL), _height(minute[1], most, _LEAST_BADLY)
        badly.append(_bar(left, _HEIGHT, bad) if bad else "")
        well.append(_bar(left, _HEIGHT - bad, good) if good else "")
    paths = (("unknown", unknown), ("bar-well", well), ("bar-badly", badly))
    return element(
        "svg",
        [element("path", d="".join(bars), class_=name) for name, bars in paths],
        element("path", d=f"M0 {_HEIGHT - 0.5}h{_WIDTH}", class_="baseline"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )


def _height(value: float, most: float, least: float) -> float:
    return round(max(least, value / most * (_HEIGHT - _LEAST_BADLY)), 1) if value > 0 else 0.0


def _bar(left: int, bottom: float, height: float, width: int = _BAR_WIDTH) -> str:
    return f"M{left} {bottom:g}v-{height:g}h{width}v{height:g}z"
