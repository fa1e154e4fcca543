"""What a run of the benchmarks is held to, and the ratios that decide it."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench import latest
from bench.common.results import Row, find, ratio, ratios
from bench.floors import Ceiling, Floor, Verdict, hold, judge, read_requirements
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


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_rates() -> None:
    slowing = Row("s", "c", "gateway", per_second=[100.0, 40.0, 10.0])
    with_it = Row("s", "c", "bare", per_second=[200.0, 50.0, 10.0])

    assert ratios(slowing, with_it) == [0.5, 0.8, 1.0]
    assert (ratio(slowing, with_it), ratio(with_it, slowing)) == (0.8, 1.25)
    with pytest.raises(ValueError, match="shorter"):
        ratios(slowing, Row("s", "c", "bare", per_second=[100.0]))


def test_what_was_not_measured_is_named() -> None:
    with pytest.raises(LookupError, match="intake: no result of 'bare' with '16 connections'"):
        find(_rows(1.0), "intake", "16 connections", "bare")


@pytest.mark.parametrize(
    ("share", "quick", "is_met"),
    [(0.8125, False, True), (0.75, False, False), (0.75, True, True), (0.625, True, False)],
)
def test_a_floor_is_lower_in_a_quick_run(share: float, quick: bool, is_met: bool) -> None:  # noqa: FBT001
    (verdict,) = judge([_FLOOR], _rows(share), quick=quick)

    assert (verdict.name, verdict.is_met, verdict.figure) == ("ours", is_met, share)
    assert verdict.text == f"intake, 64 connections: {share:.2f} of bare, at least {0.7 if quick else 0.8:.2f}"


@pytest.mark.parametrize(("p99_ms", "is_met"), [(25.0, True), (25.1, False)])
def test_a_ceiling_is_over_the_median_of_the_rounds(p99_ms: float, is_met: bool) -> None:  # noqa: FBT001
    (verdict,) = judge([_CEILING], _rows(1.0, p99_ms), quick=False)

    assert (verdict.is_met, verdict.figure) == (is_met, p99_ms)


@pytest.mark.parametrize(
    ("requirement", "share", "p99_ms", "said"),
    [
        (replace(_FLOOR, aim=0.9), 0.875, 1.0, "at least 0.80; the aim of 0.90 is not reached"),
        (replace(_FLOOR, aim=0.9), 0.9375, 1.0, "at least 0.80; the aim of 0.90 is reached"),
        (replace(_CEILING, aim=20.0), 1.0, 20.5, "at most 25.00; the aim of 20.00 is not reached"),
        (replace(_CEILING, aim=20.0), 1.0, 20.0, "at most 25.00; the aim of 20.00 is reached"),
    ],
)
def test_an_aim_is_reported_and_required_of_no_run(
    requirement: Floor | Ceiling, share: float, p99_ms: float, said: str
) -> None:
    (verdict,) = judge([requirement], _rows(share, p99_ms), quick=False)

    assert verdict.is_met
    assert verdict.text.endswith(said)


def test_ceilings_and_floors_without_a_quick_one_are_only_for_the_full_run() -> None:
    judged = {
        quick: [each.name for each in judge([_FLOOR, _FULL_ONLY, _CEILING], _rows(0.5), quick=quick)]
        for quick in (True, False)
    }

    assert judged == {True: ["ours"], False: ["ours", "slow", "late"]}


def test_only_a_scenario_that_was_not_measured_may_lack_what_is_required() -> None:
    assert judge([_FLOOR], [Row("callbacks", "16 connections", "gateway")], quick=False) == []
    with pytest.raises(LookupError, match="'bare'"):
        judge([_FLOOR], _rows(1.0)[:1], quick=False)


def test_a_mistake_in_the_file_is_not_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "floors.toml"
    file.write_text(
        '[floors.x]\nscenario = "intake"\ncase = "c"\nagainst = "b"\nfloor = 1\nquik_floor = 1\n[ceilings]\n'
    )

    with pytest.raises(TypeError, match="quik_floor"):
        read_requirements(file)


def test_every_requirement_has_its_figures_and_a_quick_floor_somewhat_lower_than_the_full_one() -> None:
    required = read_requirements()
    rows = [row for measured in latest.read().values() for row in measured.rows]
    quick = [each for each in required if isinstance(each, Floor) and each.quick_floor is not None]

    assert {each.scenario for each in required} <= set(SCENARIOS)
    assert all(verdict.figure > 0 for verdict in judge(required, rows, quick=False))
    assert [each for each in quick if not 0.75 * each.floor <= (each.quick_floor or 0) < 0.95 * each.floor] == []


_QUICK = (
    Floor("taken", "intake", "c", "bare", floor=0.8, quick_floor=0.7),
    Floor("asked", "callbacks", "c", "bare", floor=0.8, quick_floor=0.7),
    Floor("grown", "growth", "c", "bare", floor=0.8),
    Ceiling("late", "start", "c", "p99_ms", ceiling=1.0),
)


@pytest.mark.parametrize(
    ("intake", "callbacks", "measured", "missed", "held"),
    [
        pytest.param([0.75], [1.0], ["callbacks intake"], [], (True, True), id="met at once"),
        pytest.param(
            [0.5, 0.75], [1.0], ["callbacks intake", "intake"], ["taken"], (True, True), id="met the second time"
        ),
        pytest.param(
            [0.5, 0.69], [0.6, 0.9], ["callbacks intake"] * 2, ["taken", "asked"], (False, True), id="missed twice"
        ),
    ],
)
async def test_what_a_quick_run_misses_is_said_and_measured_once_again(
    intake: list[float], callbacks: list[float], measured: list[str], missed: list[str], held: tuple[bool, bool]
) -> None:
    shares = {"intake": iter(intake), "callbacks": iter(callbacks)}
    asked: list[str] = []
    said: list[str] = []

    async def measure(names: Collection[str]) -> list[Row]:
        asked.append(" ".join(sorted(names)))
        gateway = [Row(name, "c", "gateway", [next(shares[name])]) for name in names]
        return gateway + [Row(name, "c", "bare", [1.0]) for name in names]

    def say(verdicts: Sequence[Verdict]) -> None:
        said.extend(verdict.name for verdict in verdicts)

    verdicts = {verdict.name: verdict.is_met for verdict in await hold(_QUICK, measure, say)}

    assert verdicts == dict(zip(("taken", "asked"), held, strict=True))
    assert (asked, said) == (measured, missed)
