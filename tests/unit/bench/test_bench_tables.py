"""The results of the benchmarks: kept, as tables, as pictures, and the page that has them."""

import re
from pathlib import Path

import pytest

from bench import latest
from bench.common.results import Row, format_figures
from bench.latest import Measured
from bench.plots import PLOTS, draw
from bench.suite import SCENARIOS
from bench.tables import PAGE, conditions_table, fill, markdown_tables

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


def test_the_page_has_every_table_of_the_latest_results_and_every_picture() -> None:
    page = PAGE.read_text()
    pictures = re.findall(r"!\[.*?\]\((.+?)\)", page)

    assert fill(page, markdown_tables(latest.read())) == page, "python -m bench.tables --write"
    assert [name for name in (*SCENARIOS, "conditions", "floors") if f"<!-- table: {name} -->" not in page] == []
    assert pictures
    if latest.read():
        assert [name for name in pictures if not (PAGE.parent / name).is_file()] == []
