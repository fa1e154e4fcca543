"""What a run found, on the terminal."""

from collections.abc import Iterable
from itertools import zip_longest

from rich.console import Console
from rich.table import Table as RichTable

from bench.floors import Verdict
from bench.tables import Table

__all__ = ["console", "show_table", "show_verdicts"]

_WORDS = 2
_WIDTH = 200


def console() -> Console:
    """Make a terminal that is wide enough for the tables, whoever reads along."""
    return Console(highlight=False, width=_WIDTH)


def show_table(shown: Console, title: str, table: Table) -> None:
    """Print a table whose first columns are words and whose others are figures, with a line under each load."""
    lines = RichTable(title=title, title_justify="left", title_style="bold")
    for place, column in enumerate(table.columns):
        is_figure = place >= _WORDS
        # A word under the other: figures need the room.
        heading = column.replace(" ", "\n") if is_figure else column
        lines.add_column(heading, justify="right" if is_figure else "left", no_wrap=is_figure)
    for row, following in zip_longest(table.rows, table.rows[1:]):
        lines.add_row(*row, end_section=following is None or following[0] != row[0])
    shown.print(lines)


def show_verdicts(shown: Console, verdicts: Iterable[Verdict]) -> None:
    """Print whether each requirement is met."""
    for verdict in verdicts:
        mark = "[green]met[/green]   " if verdict.is_met else "[red]MISSED[/red]"
        shown.print(f"{mark}  {verdict.name}: {verdict.text}")
