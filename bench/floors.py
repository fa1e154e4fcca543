"""The requirements of ``bench/floors.toml``: floors under ratios of rates, ceilings over latencies.

In a quick run, a missed floor is measured again before it counts, as it may be noise.
"""

import tomllib
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, Protocol

from bench.common.results import Row, figures, find, ratio

__all__ = ["FLOORS", "Ceiling", "Floor", "Requirement", "Verdict", "hold", "judge", "read_requirements"]

FLOORS: Final = Path(__file__).parent / "floors.toml"

_GATEWAY: Final = "gateway"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one requirement."""

    name: str
    scenario: str
    figure: float
    limit: float
    text: str
    is_met: bool


class Requirement(Protocol):
    """A requirement of a run."""

    @property
    def name(self) -> str:
        """Its name in the file."""
        ...

    @property
    def scenario(self) -> str:
        """The scenario that must be measured for it."""
        ...

    @property
    def is_quick(self) -> bool:
        """Whether it applies to a quick run."""
        ...

    def judge(self, rows: Iterable[Row], *, quick: bool) -> Verdict:
        """Check rows against it.

        Raises:
            LookupError: The rows lack what it needs.
        """
        ...


@dataclass(frozen=True, slots=True)
class Floor:
    """The minimum ratio of the gateway's rate to a baseline's."""

    name: str
    scenario: str
    case: str
    against: str
    """The baseline."""
    floor: float
    quick_floor: float | None = None
    """The minimum in a quick run; None if not measured there."""
    aim: float | None = None
    """The target; reported, but no run must meet it."""

    @property
    def is_quick(self) -> bool:
        """See `Requirement`."""
        return self.quick_floor is not None

    def judge(self, rows: Iterable[Row], *, quick: bool) -> Verdict:
        """See `Requirement`."""
        held = list(rows)
        ours, theirs = (find(held, self.scenario, self.case, server) for server in (_GATEWAY, self.against))
        limit = self.quick_floor if quick and self.quick_floor is not None else self.floor
        found = ratio(ours, theirs)
        text = f"{self.scenario}, {self.case}: {found:.2f} of {self.against}, at least {limit:.2f}"
        if self.aim is not None:
            text += _of_aim(self.aim, is_reached=found >= self.aim)
        return Verdict(self.name, self.scenario, found, limit, text, found >= limit)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The maximum of a gateway's figure. It applies to full runs only: in quick ones most of it is noise."""

    name: str
    scenario: str
    case: str
    figure: str
    """A field of `Row`, or one of its further figures."""
    ceiling: float
    aim: float | None = None
    """See `Floor`."""

    @property
    def is_quick(self) -> bool:
        """See `Requirement`."""
        return False

    def judge(self, rows: Iterable[Row], *, quick: bool) -> Verdict:
        """See `Requirement`."""
        del quick
        found = median(figures(find(rows, self.scenario, self.case, _GATEWAY), self.figure))
        text = f"{self.scenario}, {self.case}: {self.figure} {found:.2f}, at most {self.ceiling:.2f}"
        if self.aim is not None:
            text += _of_aim(self.aim, is_reached=found <= self.aim)
        return Verdict(self.name, self.scenario, found, self.ceiling, text, found <= self.ceiling)


def _of_aim(aim: float, *, is_reached: bool) -> str:
    return f"; the aim of {aim:.2f} is {'reached' if is_reached else 'not reached'}"


def read_requirements(path: Path = FLOORS) -> list[Requirement]:
    """Read the requirements.

    Raises:
        TypeError: An entry has missing or unknown fields.
    """
    tables = tomllib.loads(path.read_text())
    return [
        *(Floor(name, **table) for name, table in tables["floors"].items()),
        *(Ceiling(name, **table) for name, table in tables["ceilings"].items()),
    ]


def judge(requirements: Iterable[Requirement], rows: Sequence[Row], *, quick: bool) -> list[Verdict]:
    """Check the rows of a run against all requirements of the measured scenarios."""
    measured = {row.scenario for row in rows}
    return [
        requirement.judge(rows, quick=quick)
        for requirement in requirements
        if requirement.scenario in measured and (requirement.is_quick or not quick)
    ]


async def hold(
    requirements: Sequence[Requirement],
    measure: Callable[[Collection[str]], Awaitable[list[Row]]],
    missed: Callable[[Sequence[Verdict]], None],
) -> list[Verdict]:
    """Measure the scenarios of quick requirements and check them, at most twice.

    Args:
        requirements: The requirements; only their scenarios are measured.
        measure: Measures scenarios, by name.
        missed: Receives the missed ones before they are measured again.
    """
    first = await _judged([each for each in requirements if each.is_quick], measure)
    failed = {verdict.name: verdict for verdict in first if not verdict.is_met}
    if not failed:
        return first
    missed(list(failed.values()))
    second = await _judged([each for each in requirements if each.name in failed], measure)
    return [verdict for verdict in first if verdict.is_met] + second


async def _judged(
    requirements: Sequence[Requirement], measure: Callable[[Collection[str]], Awaitable[list[Row]]]
) -> list[Verdict]:
    return judge(requirements, await measure({each.scenario for each in requirements}), quick=True)
