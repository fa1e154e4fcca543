"""The results as tables of text, for the terminal, for ``docs/benchmarks.md`` and for ``README.md``.

``python -m bench.tables`` prints every table as Markdown; ``python -m bench.tables --write`` puts them into the pages,
each between ``<!-- table: NAME -->`` and ``<!-- end of table -->``.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from bench import latest
from bench.common.report import Table, rows_table
from bench.curves import curves_table
from bench.floors import Verdict, judge, read_requirements
from bench.latest import Measured
from bench.model import assumptions_table, model_table, sizes_table
from bench.suite import SCENARIOS
from bench.summary import summary_table

__all__ = ["PAGE", "README", "conditions_table", "fill", "floors_table", "markdown_tables", "write"]

PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"
README: Final = Path(__file__).parents[1] / "README.md"

_MARKED = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def conditions_table(found: Mapping[str, Measured]) -> Table:
    """Return the table of machines and versions, with the scenarios measured under each."""
    runs: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, measured in found.items():
        runs.setdefault(tuple(measured.conditions.items()), []).append(name)
    names = dict.fromkeys(name for run in runs for name, _ in run)
    cells = [[name, *(dict(run).get(name, "") for run in runs)] for name in names]
    return Table(["", *(", ".join(scenarios) for scenarios in runs.values())], cells)


def floors_table(verdicts: Iterable[Verdict]) -> Table:
    """Return the table of requirements and verdicts."""
    cells = [[verdict.text, "met" if verdict.is_met else "**missed**"] for verdict in verdicts]
    return Table(["required of the gateway", ""], cells)


def markdown_tables(found: Mapping[str, Measured]) -> dict[str, str]:
    """Return every table that a page can have, by name: each scenario's, and those that combine several."""
    rows = [row for measured in found.values() for row in measured.rows]
    tables = {name: rows_table(measured.rows) for name, measured in found.items()}
    tables["conditions"] = conditions_table(found)
    tables["floors"] = floors_table(judge(read_requirements(), rows, quick=False))
    tables["curves"] = curves_table(found)
    tables["assumptions"] = assumptions_table()
    combined: dict[str, Callable[[], Table]] = {
        "summary": lambda: summary_table(found),
        "speed": lambda: summary_table(found, is_short=True),
        "model": lambda: model_table(found),
        "sizes": lambda: sizes_table(found),
    }
    for name, make in combined.items():
        try:
            tables[name] = make()
        except LookupError:
            tables[name] = Table((), ())
    measured = {name: table.to_markdown() for name, table in tables.items() if table.rows}
    return dict.fromkeys([*SCENARIOS, *tables], "Not measured yet.\n") | measured


def fill(page: str, tables: Mapping[str, str]) -> str:
    """Put tables between their marks in a page.

    Raises:
        KeyError: A mark names an unknown table.
    """
    return _MARKED.sub(lambda mark: f"{mark[1]}\n{tables[mark[2]]}\n{mark[3]}", page)


def write(found: Mapping[str, Measured]) -> None:
    """Write every table into the pages."""
    tables = markdown_tables(found)
    for page in (PAGE, README):
        page.write_text(fill(page.read_text(), tables))


def _main(*arguments: str) -> None:
    found = latest.read()
    if "--write" in arguments:
        write(found)
        return
    for name, table in markdown_tables(found).items():
        sys.stdout.write(f"{name}\n\n{table}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
