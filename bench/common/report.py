"""Reports results as Markdown tables and on the terminal, and runs a single scenario."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import uvloop
from rich.console import Console
from rich.table import Table as RichTable

from bench.common.results import Measure, Row, figures, format_figures, ratios

__all__ = ["Table", "console", "rows_table", "run_alone", "show_table"]

_FIELDS: Final = ("per_second", "p50_ms", "p95_ms", "p99_ms", "cpu_us", "rss_mib")
# With the spread of every figure a table would be unreadable; the rest is in the file.
_WITH_SPREAD: Final = {"per_second", "p99_ms", "cpu_us", "ready_ms", "first_ms", "last_ms", "ratio_in_a_block"}
_UNITS: Final = {"ms": "ms", "us": "us", "mib": "MiB", "percent": "%", "seconds": "s"}
_SHARE: Final = "gateway's share"
_GATEWAY: Final = "gateway"
_WORDS = 2
_WIDTH = 200


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text cells."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_markdown(self) -> str:
        """Return it as GitHub Markdown."""
        lines = (self.columns, ["---"] * len(self.columns), *self.rows)
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rows_table(rows: Sequence[Row]) -> Table:
    """Return the table of one scenario, without empty columns."""
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


def console() -> Console:
    """Return a console wide enough for the tables, on any output."""
    return Console(highlight=False, width=_WIDTH)


def show_table(shown: Console, title: str, table: Table) -> None:
    """Print a table of text and figure columns, with a line under each load."""
    lines = RichTable(title=title, title_justify="left", title_style="bold")
    for place, column in enumerate(table.columns):
        is_figure = place >= _WORDS
        # Words wrap: figures need the room.
        heading = column.replace(" ", "\n") if is_figure else column
        lines.add_column(heading, justify="right" if is_figure else "left", no_wrap=is_figure)
    for row, following in zip_longest(table.rows, table.rows[1:]):
        lines.add_row(*row, end_section=following is None or following[0] != row[0])
    shown.print(lines)


def run_alone(measure: Measure) -> None:
    """Measure a scenario, as ``python -m bench.scenarios.fan_out [--quick]`` does, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="only what the floors of a quick run need")
    arguments = parser.parse_args()
    began = time.monotonic()
    rows = uvloop.run(_measured(measure, quick=arguments.quick))
    show_table(console(), f"{time.monotonic() - began:.0f} s", rows_table(rows))


async def _measured(measure: Measure, *, quick: bool) -> list[Row]:
    with TemporaryDirectory(prefix="d1-gateway-bench-") as folder:
        return await measure(Path(folder), quick=quick)


def _heading(name: str) -> str:
    """Return a figure's name with its unit: ``p50, ms`` for ``p50_ms``."""
    what, _, unit = name.rpartition("_")
    return f"{what}, {_UNITS[unit]}".replace("_", " ") if unit in _UNITS else name.replace("_", " ")


def _shares(row: Row, gateway: Row | None) -> Sequence[float]:
    is_comparable = gateway is not None and gateway is not row and len(gateway.per_second) == len(row.per_second)
    return ratios(gateway, row) if gateway is not None and is_comparable else ()
