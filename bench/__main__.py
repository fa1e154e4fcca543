"""``python -m bench``: one run of everything, about a minute and a half. Exits with 1 if a requirement is missed."""

import asyncio
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from bench import report
from bench.measure import measure_latency, measure_throughput
from bench.processes import Processes
from bench.round_trip import measure_round_trips

__all__: list[str] = []

# Connections, rounds, seconds a round: most of the time goes where the requirement is.
_LOADS = ((64, 7, 1.0), (16, 3, 0.8), (1, 3, 0.8))
_WIDTH = 132


async def _run(console: Console) -> bool:
    began = time.monotonic()
    with TemporaryDirectory(prefix="d1-gateway-bench-") as name:
        report.show_conditions(console, f"event log in {Path(name).parent}")
        async with Processes.start(Path(name)) as processes:
            throughput = [await measure_throughput(processes, *load) for load in _LOADS]
            latency = await measure_latency(processes)
            round_trips = await measure_round_trips(processes)
    report.show_throughput(console, throughput)
    report.show_latency(console, latency)
    report.show_round_trips(console, round_trips)
    floors = [*report.floors(throughput, latency), *report.round_trip_floors(round_trips)]
    report.show_floors(console, floors)
    console.print(f"\n{time.monotonic() - began:.0f} s")
    return all(floor.is_met or not floor.is_held for floor in floors)


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(_run(Console(highlight=False, width=_WIDTH))) else 1)
