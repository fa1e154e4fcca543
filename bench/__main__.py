"""``python -m bench``: one run of everything, about a minute. Exits with 1 if a requirement is missed."""

import asyncio
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from bench import report
from bench.measure import measure_latency, measure_throughput
from bench.processes import Processes

__all__: list[str] = []

# Connections, rounds, seconds a round: most of the time goes where the requirement is.
_LOADS = ((64, 7, 1.0), (16, 3, 0.8), (1, 3, 0.8))
_WIDTH = 120


async def _run(console: Console) -> bool:
    began = time.monotonic()
    with TemporaryDirectory(prefix="d1-gateway-bench-") as name:
        report.show_conditions(console, f"event log in {Path(name).parent}")
        async with Processes.start(Path(name)) as processes:
            throughput = [await measure_throughput(processes, *load) for load in _LOADS]
            latency = await measure_latency(processes)
    report.show_throughput(console, throughput)
    report.show_latency(console, latency)
    held = list(report.floors(throughput, latency))
    report.show_floors(console, held)
    console.print(f"\n{time.monotonic() - began:.0f} s")
    return all(floor.is_met for floor in held)


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(_run(Console(highlight=False, width=_WIDTH))) else 1)
