"""The pictures of the benchmarks."""

from pathlib import Path

from bench.common.results import Row
from bench.latest import Measured
from bench.plots import PLOTS, draw
from bench.suite import SCENARIOS

_PNG = b"\x89PNG\r\n\x1a\n"
_ROWS = [
    Row("intake", "1 connection", "gateway", [10.0, 30.0, 20.0]),
    Row("intake", "1 connection", "bare", [20.0, 30.0, 40.0]),
    Row("intake", "64 connections", "gateway", [100.0]),
    Row("intake", "500/s", "bare", p50_ms=[2.0]),
]


def test_what_was_measured_is_drawn_and_nothing_else(tmp_path: Path) -> None:
    draw({"intake": Measured({}, _ROWS), "start": Measured({}, [])}, tmp_path)

    assert [file.name for file in tmp_path.iterdir()] == ["intake.png"]
    assert (tmp_path / "intake.png").read_bytes().startswith(_PNG)


def test_figures_far_from_each_other_are_drawn_too(tmp_path: Path) -> None:
    rows = [
        Row("fan-out", f"{watchers} watchers, burst of 2,000", "gateway", [10.0**watchers, 2 * 10.0**watchers])
        for watchers in range(5)
    ]

    draw({"fan-out": Measured({}, rows)}, tmp_path)

    assert (tmp_path / "fan-out.png").read_bytes().startswith(_PNG)


def test_every_picture_is_of_a_scenario_that_there_is() -> None:
    assert set(PLOTS) <= set(SCENARIOS)
