"""``python -m bench``: measures every scenario, stores and plots the results, and checks ``bench/floors.toml``.

``--only intake,unary`` measures some scenarios and keeps the stored results of the others. ``--quick`` measures what
the quick floors need in half a minute and stores nothing. Exits with 1 if a floor is missed, with 2 if a program is
not installed.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from rich.console import Console

from bench import latest, tables
from bench.common.report import console, rows_table, show_table
from bench.common.results import Row
from bench.conditions import conditions
from bench.floors import Verdict, hold, judge, read_requirements
from bench.plots import draw, draw_curves
from bench.suite import SCENARIOS
from bench.unary.h2load import MissingToolError

__all__: list[str] = []


def _main() -> int:
    """Run the command line. Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures what the gateway costs.")
    parser.add_argument("--only", type=_names, default=[*SCENARIOS], metavar="NAME,...", help=", ".join(SCENARIOS))
    parser.add_argument("--quick", action="store_true", help="half a minute, for CI")
    arguments = parser.parse_args()
    shown, began = console(), time.monotonic()
    try:
        verdicts = uvloop.run((_quick if arguments.quick else _full)(shown, arguments.only))
    except MissingToolError as error:
        shown.print(error)
        return 2
    _show_verdicts(shown, verdicts)
    shown.print(f"{time.monotonic() - began:.0f} s")
    return 0 if all(verdict.is_met for verdict in verdicts) else 1


def _names(said: str) -> list[str]:
    names = said.split(",")
    if unknown := set(names) - set(SCENARIOS):
        raise argparse.ArgumentTypeError(f"no such scenario: {', '.join(sorted(unknown))}")
    return names


async def _full(shown: Console, names: Sequence[str]) -> list[Verdict]:
    """Measure scenarios, store the results after each, and plot everything that is stored."""
    rows: list[Row] = []
    # Before this run's results change the work tree.
    under = await asyncio.to_thread(conditions)
    for name in names:
        found = await _measure(shown, name, quick=False)
        latest.write({name: latest.Measured(under, found)})
        rows += found
    kept = latest.read()
    draw(kept, latest.LATEST.parent)
    draw_curves(kept, latest.LATEST.parent)
    tables.write(kept)
    return judge(read_requirements(), rows, quick=False)


async def _quick(shown: Console, names: Sequence[str]) -> list[Verdict]:
    """Measure what the scenarios' quick floors need."""

    async def measure(wanted: Collection[str]) -> list[Row]:
        return [row for name in SCENARIOS if name in wanted for row in await _measure(shown, name, quick=True)]

    def missed(verdicts: Sequence[Verdict]) -> None:
        _show_verdicts(shown, verdicts)
        shown.print("Measuring again, as this may be noise.")

    return await hold([each for each in read_requirements() if each.scenario in names], measure, missed)


def _show_verdicts(shown: Console, verdicts: Iterable[Verdict]) -> None:
    """Print each verdict."""
    for verdict in verdicts:
        mark = "[green]met[/green]   " if verdict.is_met else "[red]MISSED[/red]"
        shown.print(f"{mark}  {verdict.name}: {verdict.text}")


async def _measure(shown: Console, name: str, *, quick: bool) -> list[Row]:
    began = time.monotonic()
    with TemporaryDirectory(prefix="d1-gateway-bench-") as folder:
        rows = await SCENARIOS[name].measure(Path(folder), quick=quick)
    show_table(shown, f"{SCENARIOS[name].title}, {time.monotonic() - began:.0f} s", rows_table(rows))
    return rows


if __name__ == "__main__":
    sys.exit(_main())
