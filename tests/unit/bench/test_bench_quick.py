"""The quick run of the benchmarks."""

from collections.abc import Collection, Sequence

import pytest

from bench.common.results import Row
from bench.floors import Ceiling, Floor, Verdict, hold

_REQUIREMENTS = (
    Floor("taken", "intake", "c", "bare", floor=0.8, quick_floor=0.7),
    Floor("asked", "callbacks", "c", "bare", floor=0.8, quick_floor=0.7),
    Floor("grown", "growth", "c", "bare", floor=0.8),
    Ceiling("late", "start", "c", "p99_ms", ceiling=1.0),
)


class _Run:
    """Gives each scenario its shares, one a time that it is measured."""

    def __init__(self, **shares: Sequence[float]) -> None:
        self.shares = {name: iter(each) for name, each in shares.items()}
        self.measured: list[list[str]] = []
        self.said: list[str] = []

    async def measure(self, names: Collection[str]) -> list[Row]:
        self.measured.append(sorted(names))
        return [
            row
            for name in names
            for row in (Row(name, "c", "gateway", [next(self.shares[name])]), Row(name, "c", "bare", [1.0]))
        ]

    def missed(self, verdicts: Sequence[Verdict]) -> None:
        self.said += [verdict.name for verdict in verdicts]

    async def hold(self) -> dict[str, bool]:
        return {verdict.name: verdict.is_met for verdict in await hold(_REQUIREMENTS, self.measure, self.missed)}


async def test_what_is_met_is_measured_once() -> None:
    run = _Run(intake=[0.75], callbacks=[1.0])

    assert await run.hold() == {"taken": True, "asked": True}
    assert run.measured == [["callbacks", "intake"]]
    assert run.said == []


async def test_what_is_missed_is_said_and_measured_once_again() -> None:
    run = _Run(intake=[0.5, 0.75], callbacks=[1.0])

    assert await run.hold() == {"taken": True, "asked": True}
    assert run.measured == [["callbacks", "intake"], ["intake"]]
    assert run.said == ["taken"]


@pytest.mark.parametrize("second", [0.5, 0.69])
async def test_what_is_missed_twice_is_missed(second: float) -> None:
    run = _Run(intake=[0.5, second], callbacks=[0.6, 0.9])

    assert await run.hold() == {"taken": False, "asked": True}
    assert run.said == ["taken", "asked"]
