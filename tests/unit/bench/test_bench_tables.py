"""The results of the benchmarks: kept, as tables, as pictures, and the page that has them."""

import re
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import pytest

from bench import capacity, latest
from bench.common.results import Row, format_figures
from bench.curves import CURVES, Curve, Point, curves_table, points
from bench.latest import Measured
from bench.model import Assumptions, loads, model_table, sizes_table
from bench.plots import PLOTS, draw, draw_curves
from bench.suite import SCENARIOS
from bench.summary import summary_table
from bench.tables import PAGE, README, conditions_table, fill, markdown_tables

_ROWS = [
    Row("intake", "1 connection", "gateway", [10.0, 30.0, 20.0]),
    Row("intake", "1 connection", "bare", [20.0, 30.0, 40.0]),
    Row("intake", "500/s", "bare", p50_ms=[2.0]),
]


@pytest.mark.parametrize(("value", "written"), [(0.0, "0"), (0.256, "0.26"), (9.996, "10.00"), (12345.6, "12,346")])
def test_a_figure_has_three_digits_or_all_of_its_whole_part(value: float, written: str) -> None:
    assert format_figures([value]) == written


def test_scenarios_measured_under_the_same_conditions_share_a_column() -> None:
    first, second = {"commit": "a", "node": "20"}, {"commit": "b"}
    table = conditions_table({"x": Measured(first, []), "y": Measured(second, []), "z": Measured(first, [])})

    assert (table.columns, table.rows) == (["", "x, z", "y"], [["commit", "a", "b"], ["node", "20", ""]])


def test_tables_are_put_between_known_marks_and_nowhere_else() -> None:
    page = "before\n<!-- table: a -->\nold\n<!-- end of table -->\nbetween\n<!-- table: b -->\n<!-- end of table -->\n"

    filled = fill(page, {"a": "new\n", "b": "too\n"})

    assert filled == (
        "before\n<!-- table: a -->\n\nnew\n\n<!-- end of table -->\nbetween\n"
        "<!-- table: b -->\n\ntoo\n\n<!-- end of table -->\n"
    )
    assert fill(filled, {"a": "new\n", "b": "too\n"}) == filled
    with pytest.raises(KeyError, match="intakes"):
        fill("<!-- table: intakes -->\n<!-- end of table -->\n", markdown_tables({}))


def test_what_is_kept_is_read_back_and_the_other_scenarios_stay(tmp_path: Path) -> None:
    file = tmp_path / "results" / "latest.json"
    intake = Measured({"commit": "a"}, [Row("intake", "c", "gateway", [1.5], more={"lost": [0.0]})])
    latest.write({"intake": intake, "start": Measured({}, [])}, file)
    latest.write({"start": Measured({"commit": "b"}, [])}, file)

    kept = latest.read(file)

    assert {name: measured.conditions for name, measured in kept.items()} == {
        "intake": {"commit": "a"},
        "start": {"commit": "b"},
    }
    (row,) = kept["intake"].rows
    assert (row.server, row.per_second, row.more, row.p50_ms) == ("gateway", [1.5], {"lost": [0.0]}, [])


def test_what_was_measured_is_drawn_and_nothing_else(tmp_path: Path) -> None:
    far = [Row("fan-out", f"{count} watchers, burst of 2,000", "gateway", [10.0**count]) for count in range(5)]

    draw({"intake": Measured({}, _ROWS), "fan-out": Measured({}, far), "start": Measured({}, [])}, tmp_path)

    drawn = {file.name: file.read_bytes()[:4] for file in tmp_path.iterdir()}
    assert drawn == {"intake.png": b"\x89PNG", "fan-out.png": b"\x89PNG"}
    assert set(PLOTS) <= set(SCENARIOS)


def _growing(*cpu_us: float) -> dict[str, Measured]:
    sizes = (10_000, 1_000_000, 5_000_000)
    rows = [
        Row("growth", f"{size:,} stored, intake over 16 connections", "gateway", cpu_us=[cost])
        for size, cost in zip(sizes, cpu_us, strict=True)
    ]
    return {"growth": Measured({}, [*rows, Row("growth", "10,000 stored, start", "gateway", cpu_us=[1.0])])}


_STORED = Curve("growth", "stored", "a notification", r"([\d,]+) stored, intake .+", "it falls", beyond=10_000_000)


@pytest.mark.parametrize(("largest", "further"), [(140.0, 190.0), (90.0, 90.0)])
def test_a_curve_goes_on_as_between_its_last_two_points_and_never_falls(largest: float, further: float) -> None:
    *measured, extrapolated = points(_STORED, _growing(50.0, 100.0, largest))

    assert [(point.number, point.cpu_us) for point in measured] == [
        (10_000, [50.0]),
        (1_000_000, [100.0]),
        (5_000_000, [largest]),
    ]
    assert extrapolated == Point(10_000_000, [further], is_extrapolated=True)


def test_what_is_extrapolated_is_marked_and_does_not_count_for_how_much_a_cost_grows() -> None:
    (line,) = curves_table(_growing(50.0, 100.0, 140.0)).rows

    assert line[2] == "10,000: 50.0; 1,000,000: 100; 5,000,000: 140; *10,000,000: 190 (extrapolated)*"
    assert line[3] == "2.8"


def test_every_curve_has_points_in_the_latest_results(tmp_path: Path) -> None:
    found = latest.read()

    assert [curve.over for curve in CURVES if len(points(curve, found)) < 4] == []
    draw_curves(found, tmp_path)
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_the_model_multiplies_what_is_assumed_with_what_was_measured() -> None:
    found = latest.read()
    work, twice = loads(found), loads(found, Assumptions(cards=20_000_000))
    stored = next(each for each in work if each.name == "notifications stored")

    # 5 million purchases a day, half of them with two notifications, in minutes that are 8 times as busy.
    assert stored.per_second == pytest.approx(5e6 * 1.5 * 8 / 86_400)
    assert [each.per_second for each in twice] == pytest.approx([2 * each.per_second for each in work])
    assert [each.name for each in work if min(each.busy_us, each.quiet_us) <= 0] == []


def test_the_cores_of_the_model_are_the_sums_of_its_lines_with_headroom() -> None:
    found = latest.read()
    *lines, gateways, nats = model_table(found).rows

    for total, is_nats in ((gateways, False), (nats, True)):
        ours = [line for line in lines if line[0].endswith("NATS servers") is is_nats]
        # Each is rounded to a hundredth of a core, and half of a core is used.
        assert float(total[5]) == pytest.approx(2 * sum(float(line[5]) for line in ours), abs=0.01 * (len(ours) + 1))
    assert sizes_table(found).rows[0][1] == f"{ceil(float(gateways[5]))} + 1"


def test_a_bank_sizes_its_own_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    capacity.main(["--cards", "20000000", "--busy", "0.25"])

    printed = capsys.readouterr().out
    assumed = Assumptions(cards=20_000_000, busy=0.25)
    assert sizes_table(latest.read(), assumed).to_markdown() in printed
    assert "| cards | 20,000,000 |" in printed


@pytest.mark.parametrize("arguments", [("--cards", "many"), ("--cards", "-1"), ("--busy", "0"), ("--gateways", "3")])
def test_a_size_that_makes_no_sense_is_refused(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        capacity.main(arguments)
    assert "bench.capacity: error: " in capsys.readouterr().err


def test_tables_of_several_scenarios_wait_for_all_of_them() -> None:
    found = latest.read()
    del found["replay"], found["cluster"]
    tables = markdown_tables(found)

    assert (tables["summary"], tables["model"]) == ("Not measured yet.\n", "Not measured yet.\n")
    assert len(summary_table(found, is_short=True).rows) == 5


def test_the_pages_have_every_table_of_the_latest_results_and_every_picture() -> None:
    page, tables = PAGE.read_text(), markdown_tables(latest.read())
    pictures = re.findall(r"!\[.*?\]\((.+?)\)", page)

    for each in (page, README.read_text()):
        assert fill(each, tables) == each, "python -m bench.tables --write"
    assert [name for name in tables.keys() - {"speed"} if f"<!-- table: {name} -->" not in page] == []
    assert pictures
    if latest.read():
        assert [name for name in pictures if not (PAGE.parent / name).is_file()] == []
