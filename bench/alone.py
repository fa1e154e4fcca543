"""Runs one scenario by itself, as ``python -m bench.fan_out [--quick]`` does, and prints what it found."""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from bench.report import console, show_table
from bench.results import Row
from bench.scenarios import Measure
from bench.tables import rows_table

__all__ = ["run_alone"]


def run_alone(measure: Measure) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="only what the floors of a quick run need")
    arguments = parser.parse_args()
    began = time.monotonic()
    rows = uvloop.run(_measured(measure, quick=arguments.quick))
    show_table(console(), f"{time.monotonic() - began:.0f} s", rows_table(rows))


async def _measured(measure: Measure, *, quick: bool) -> list[Row]:
    with TemporaryDirectory(prefix="d1-gateway-bench-") as folder:
        return await measure(Path(folder), quick=quick)
