"""The results of the benchmarks as tables, and the page that has them."""

import re
from pathlib import Path

import pytest

from bench import latest
from bench.common.report import rows_table
from bench.common.results import Row
from bench.latest import Measured
from bench.suite import SCENARIOS
from bench.tables import PAGE, conditions_table, fill, markdown_tables

_ROWS = [
    Row("intake", "1 connection", "gateway", [10.0, 30.0, 20.0], p50_ms=[0.5, 0.7, 0.6]),
    Row("intake", "1 connection", "bare", [20.0, 30.0, 40.0], more={"load_cpu_percent": [30.0, 31.0, 32.0]}),
    Row("intake", "500/s", "gateway", p50_ms=[1.0]),
    Row("intake", "500/s", "bare", p50_ms=[2.0]),
]


def test_a_table_has_a_column_for_each_figure_that_was_measured_of_somebody() -> None:
    assert rows_table(_ROWS).columns == ["load", "server", "per second", "gateway's share", "p50, ms", "load cpu, %"]


def test_a_table_has_the_gateway_s_share_of_each_baseline_under_the_same_load() -> None:
    assert rows_table(_ROWS).rows == [
        ["1 connection", "gateway", "20.0 (10.0-30.0)", "", "0.60", ""],
        ["1 connection", "bare", "30.0 (20.0-40.0)", "0.50 (0.50-1.00)", "", "31.0"],
        ["500/s", "gateway", "", "", "1.00", ""],
        ["500/s", "bare", "", "", "2.00", ""],
    ]


def test_what_has_no_baseline_has_no_shares() -> None:
    growth = [Row("growth", "a million", "gateway", rss_mib=[100.0], more={"read_back_ms": [1.5]})]

    assert rows_table(growth).columns == ["load", "server", "rss, MiB", "read back, ms"]


def test_a_table_is_written_as_markdown() -> None:
    assert rows_table(_ROWS[2:]).to_markdown() == (
        "| load | server | p50, ms |\n| --- | --- | --- |\n| 500/s | gateway | 1.00 |\n| 500/s | bare | 2.00 |\n"
    )


def test_scenarios_measured_under_the_same_conditions_share_a_column() -> None:
    first, second = {"commit": "a", "node": "20"}, {"commit": "b"}
    table = conditions_table({"x": Measured(first, []), "y": Measured(second, []), "z": Measured(first, [])})

    assert table.columns == ["", "x, z", "y"]
    assert table.rows == [["commit", "a", "b"], ["node", "20", ""]]


def test_tables_are_put_between_their_marks_and_nowhere_else() -> None:
    page = "before\n<!-- table: a -->\nold\n<!-- end of table -->\nbetween\n<!-- table: b -->\n<!-- end of table -->\n"

    filled = fill(page, {"a": "new\n", "b": "too\n"})

    assert filled == (
        "before\n<!-- table: a -->\n\nnew\n\n<!-- end of table -->\nbetween\n"
        "<!-- table: b -->\n\ntoo\n\n<!-- end of table -->\n"
    )
    assert fill(filled, {"a": "new\n", "b": "too\n"}) == filled


def test_a_mark_of_a_table_that_there_is_not_is_no_success() -> None:
    with pytest.raises(KeyError, match="intakes"):
        fill("<!-- table: intakes -->\n<!-- end of table -->\n", markdown_tables({}))


def test_what_is_kept_is_read_back_and_the_other_scenarios_stay(tmp_path: Path) -> None:
    file = tmp_path / "results" / "latest.json"
    intake = Measured({"commit": "a"}, [Row("intake", "c", "gateway", [1.5], more={"lost": [0.0]})])
    latest.write({"intake": intake, "start": Measured({}, [])}, file)
    latest.write({"start": Measured({"commit": "b"}, [])}, file)

    kept = latest.read(file)

    assert kept["start"].conditions == {"commit": "b"}
    assert kept["intake"].conditions == {"commit": "a"}
    (row,) = kept["intake"].rows
    assert (row.server, row.per_second, row.more, row.p50_ms) == ("gateway", [1.5], {"lost": [0.0]}, [])


def test_the_page_has_the_tables_of_the_latest_results() -> None:
    page = PAGE.read_text()

    assert fill(page, markdown_tables(latest.read())) == page, "python -m bench.tables --write"


@pytest.mark.parametrize("name", [*SCENARIOS, "conditions", "floors"])
def test_the_page_has_every_table(name: str) -> None:
    assert f"<!-- table: {name} -->" in PAGE.read_text()


def test_every_picture_of_the_page_is_there() -> None:
    pictures = re.findall(r"!\[.*?\]\((.+?)\)", PAGE.read_text())

    assert pictures
    if latest.read():
        assert [name for name in pictures if not (PAGE.parent / name).is_file()] == []
