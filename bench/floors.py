"""What a run is held to: floors under ratios of rates, ceilings over latencies, as ``bench/floors.toml`` has them.

In a quick run, a floor that is missed is measured once again before it counts, as it may be noise.
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
    """What came of one requirement."""

    name: str
    scenario: str
    figure: float
    limit: float
    text: str
    is_met: bool


class Requirement(Protocol):
    """What a run is held to."""

    @property
    def name(self) -> str:
        """What it is called in the file."""
        ...

    @property
    def scenario(self) -> str:
        """Which scenario has to be measured for it."""
        ...

    @property
    def is_quick(self) -> bool:
        """Whether a quick run is held to it."""
        ...

    def judge(self, rows: Iterable[Row], *, quick: bool) -> Verdict:
        """Hold the rows against it.

        Raises:
            LookupError: What it is about was not measured.
        """
        ...


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that the gateway's rate may be of a baseline's."""

    name: str
    scenario: str
    case: str
    against: str
    """The baseline."""
    floor: float
    quick_floor: float | None = None
    """In a quick run, None if it is not measured there."""
    aim: float | None = None
    """What it ought to be, where that is not reached yet; told, and held to by no run."""

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
            text += f"; the aim is {self.aim:.2f}"
        return Verdict(self.name, self.scenario, found, limit, text, found >= limit)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a figure of the gateway may reach at most. Only a full run is held to it: elsewhere most of it is noise."""

    name: str
    scenario: str
    case: str
    figure: str
    """A field of `Row`, or of what more it has."""
    ceiling: float

    @property
    def is_quick(self) -> bool:
        """See `Requirement`."""
        return False

    def judge(self, rows: Iterable[Row], *, quick: bool) -> Verdict:
        """See `Requirement`."""
        del quick
        found = median(figures(find(rows, self.scenario, self.case, _GATEWAY), self.figure))
        text = f"{self.scenario}, {self.case}: {self.figure} {found:.2f}, at most {self.ceiling:.2f}"
        return Verdict(self.name, self.scenario, found, self.ceiling, text, found <= self.ceiling)


def read_requirements(path: Path = FLOORS) -> list[Requirement]:
    """Read what a run is held to.

    Raises:
        TypeError: An entry lacks something, or has something that no entry has.
    """
    tables = tomllib.loads(path.read_text())
    return [
        *(Floor(name, **table) for name, table in tables["floors"].items()),
        *(Ceiling(name, **table) for name, table in tables["ceilings"].items()),
    ]


def judge(requirements: Iterable[Requirement], rows: Sequence[Row], *, quick: bool) -> list[Verdict]:
    """Hold the rows of a run against all that is required of the scenarios that it measured."""
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
    """Measure the scenarios of quick requirements and hold them to those, twice at most.

    Args:
        requirements: What is required; of the others nothing is measured.
        measure: Measures scenarios, by name.
        missed: Is told what was missed before that is measured again.
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
