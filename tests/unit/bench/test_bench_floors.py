"""What a run of the benchmarks is held to."""

from pathlib import Path

import pytest

from bench import latest
from bench.common.results import Row
from bench.floors import Ceiling, Floor, Requirement, judge, read_requirements
from bench.suite import SCENARIOS

_FLOOR = Floor("ours", "intake", "64 connections", "bare", floor=0.8, quick_floor=0.7)
_FULL_ONLY = Floor("slow", "intake", "64 connections", "bare", floor=0.9)
_CEILING = Ceiling("late", "intake", "64 connections", "p99_ms", ceiling=25.0)


def _rows(share: float, p99_ms: float = 1.0) -> list[Row]:
    rounds = [100.0, 50.0, 200.0]
    return [
        Row("intake", "64 connections", "gateway", [share * each for each in rounds], p99_ms=[1.0, p99_ms, p99_ms]),
        Row("intake", "64 connections", "bare", rounds),
    ]


@pytest.mark.parametrize(
    ("share", "quick", "is_met"),
    [(0.8125, False, True), (0.75, False, False), (0.75, True, True), (0.625, True, False)],
)
def test_a_floor_is_lower_in_a_quick_run(share: float, quick: bool, is_met: bool) -> None:  # noqa: FBT001
    (verdict,) = judge([_FLOOR], _rows(share), quick=quick)

    assert (verdict.is_met, verdict.figure) == (is_met, share)


def test_a_verdict_says_the_figure_and_the_floor() -> None:
    (verdict,) = judge([_FLOOR], _rows(0.625), quick=True)

    assert verdict.name == "ours"
    assert verdict.text == "intake, 64 connections: 0.62 of bare, at least 0.70"


def test_a_floor_without_a_quick_one_is_only_for_the_full_run() -> None:
    assert [each.name for each in judge([_FLOOR, _FULL_ONLY], _rows(0.5), quick=True)] == ["ours"]
    assert [each.name for each in judge([_FLOOR, _FULL_ONLY], _rows(0.5), quick=False)] == ["ours", "slow"]


@pytest.mark.parametrize(("p99_ms", "is_met"), [(25.0, True), (25.1, False)])
def test_a_ceiling_is_over_the_median_of_the_rounds(p99_ms: float, is_met: bool) -> None:  # noqa: FBT001
    (verdict,) = judge([_CEILING], _rows(1.0, p99_ms), quick=False)

    assert (verdict.is_met, verdict.figure) == (is_met, p99_ms)


def test_a_ceiling_is_absolute_and_so_only_for_the_full_run() -> None:
    assert judge([_CEILING], _rows(1.0), quick=True) == []


def test_nothing_is_required_of_a_scenario_that_was_not_measured() -> None:
    assert judge([_FLOOR], [Row("callbacks", "16 connections", "gateway")], quick=False) == []


def test_a_floor_under_what_a_measured_scenario_lacks_is_no_success() -> None:
    with pytest.raises(LookupError, match="'bare'"):
        judge([_FLOOR], _rows(1.0)[:1], quick=False)


def test_a_mistake_in_the_file_is_not_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "floors.toml"
    file.write_text(
        '[floors.x]\nscenario = "intake"\ncase = "c"\nagainst = "b"\nfloor = 1\nquik_floor = 1\n[ceilings]\n'
    )

    with pytest.raises(TypeError, match="quik_floor"):
        read_requirements(file)


@pytest.mark.parametrize("requirement", read_requirements(), ids=lambda requirement: requirement.name)
def test_every_requirement_is_of_a_scenario_that_there_is(requirement: Requirement) -> None:
    assert requirement.scenario in SCENARIOS


@pytest.mark.parametrize("requirement", read_requirements(), ids=lambda requirement: requirement.name)
def test_every_quick_floor_is_somewhat_lower_than_the_full_one(requirement: Requirement) -> None:
    if isinstance(requirement, Floor) and requirement.quick_floor is not None:
        assert 0.75 * requirement.floor <= requirement.quick_floor < 0.95 * requirement.floor


def test_every_requirement_of_a_measured_scenario_finds_its_figures() -> None:
    rows = [row for measured in latest.read().values() for row in measured.rows]

    assert all(verdict.figure > 0 for verdict in judge(read_requirements(), rows, quick=False))
