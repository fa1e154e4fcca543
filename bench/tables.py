"""The results as tables of text, and those of ``docs/benchmarks.md``.

``python -m bench.tables`` prints every table as Markdown; ``python -m bench.tables --write`` puts them into the page,
each between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import latest
from bench.floors import Verdict, judge, read_requirements
from bench.latest import Measured
from bench.ratios import figures, format_figures, ratios
from bench.results import Row
from bench.scenarios import SCENARIOS

__all__ = ["PAGE", "Table", "conditions_table", "fill", "floors_table", "markdown_tables", "rows_table", "write"]

PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"

_MARKED = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_FIELDS: Final = ("per_second", "p50_ms", "p95_ms", "p99_ms", "cpu_us", "rss_mib")
# With the spread of every figure a table could not be read; the others' is in the file.
_WITH_SPREAD: Final = {"per_second", "p99_ms", "cpu_us", "ready_ms", "first_ms", "last_ms", "ratio_in_a_block"}
_UNITS: Final = {"ms": "ms", "us": "us", "mib": "MiB", "percent": "%", "seconds": "s"}
_SHARE: Final = "gateway's share"
_GATEWAY: Final = "gateway"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_markdown(self) -> str:
        """Write it as GitHub reads it."""
        lines = (self.columns, ["---"] * len(self.columns), *self.rows)
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rows_table(rows: Sequence[Row]) -> Table:
    """Make the table of one scenario: what was measured of nobody has no column."""
    more = dict.fromkeys(name for row in rows for name in row.more)
    measured = [name for name in (*_FIELDS, *more) if any(figures(row, name) for row in rows)]
    gateways = {row.case: row for row in rows if row.server == _GATEWAY}
    columns = [_heading(name) for name in measured]
    cells = [[format_figures(figures(row, name), spread=name in _WITH_SPREAD) for name in measured] for row in rows]
    shares = [format_figures(_shares(row, gateways.get(row.case))) for row in rows]
    if any(shares):
        columns.insert(1, _SHARE)
        for line, share in zip(cells, shares, strict=True):
            line.insert(1, share)
    named = [[row.case, row.server, *line] for row, line in zip(rows, cells, strict=True)]
    return Table(["load", "server", *columns], named)


def conditions_table(found: Mapping[str, Measured]) -> Table:
    """Make the table of the machine and the versions, and of the scenarios that were measured under each."""
    runs: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, measured in found.items():
        runs.setdefault(tuple(measured.conditions.items()), []).append(name)
    names = dict.fromkeys(name for run in runs for name, _ in run)
    cells = [[name, *(dict(run).get(name, "") for run in runs)] for name in names]
    return Table(["", *(", ".join(scenarios) for scenarios in runs.values())], cells)


def floors_table(verdicts: Iterable[Verdict]) -> Table:
    """Make the table of what is required and what came of it."""
    cells = [[verdict.text, "met" if verdict.is_met else "**missed**"] for verdict in verdicts]
    return Table(["required of the gateway", ""], cells)


def markdown_tables(found: Mapping[str, Measured]) -> dict[str, str]:
    """Write every table that a page can have, by name: each scenario's, ``conditions`` and ``floors``."""
    rows = [row for measured in found.values() for row in measured.rows]
    tables = {name: rows_table(measured.rows) for name, measured in found.items()}
    tables["conditions"] = conditions_table(found)
    tables["floors"] = floors_table(judge(read_requirements(), rows, quick=False))
    measured = {name: table.to_markdown() for name, table in tables.items() if table.rows}
    return dict.fromkeys([*SCENARIOS, *tables], "Not measured yet.\n") | measured


def fill(page: str, tables: Mapping[str, str]) -> str:
    """Put tables between their marks in a page.

    Raises:
        KeyError: A mark names a table that there is not.
    """
    return _MARKED.sub(lambda mark: f"{mark[1]}\n{tables[mark[2]]}\n{mark[3]}", page)


def write(found: Mapping[str, Measured], page: Path = PAGE) -> None:
    """Put every table into a page."""
    page.write_text(fill(page.read_text(), markdown_tables(found)))


def _heading(name: str) -> str:
    """Write a figure's name with its unit: ``p50_ms`` as ``p50, ms``."""
    what, _, unit = name.rpartition("_")
    return f"{what}, {_UNITS[unit]}".replace("_", " ") if unit in _UNITS else name.replace("_", " ")


def _shares(row: Row, gateway: Row | None) -> Sequence[float]:
    is_comparable = gateway is not None and gateway is not row and len(gateway.per_second) == len(row.per_second)
    return ratios(gateway, row) if gateway is not None and is_comparable else ()


def _main(*arguments: str) -> None:
    found = latest.read()
    if "--write" in arguments:
        write(found)
        return
    for name, table in markdown_tables(found).items():
        sys.stdout.write(f"{name}\n\n{table}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
