"""What slows down as the event log grows: ``python -m bench.scenarios.growth``.

One log grows to 10 thousand notifications, a million, and five million, some 4 GB. At each size the gateway starts
three times, lets a watcher resume 10,000 notifications back, and takes notifications over 16 connections at the
maximum rate.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.clients.audience import audience
from bench.clients.loader import Load, loader, measure_in_turns
from bench.common.processes import Ground, Server
from bench.common.report import run_alone
from bench.common.results import Row
from bench.common.usage import rss_mib
from bench.scenarios.replay import replay, replay_row
from bench.scenarios.start import started
from bench.scenarios.stored import Filled, fill

__all__ = ["measure_growth"]

_SCENARIO: Final = "growth"
_SIZES: Final = (10_000, 1_000_000, 5_000_000)
_QUICK_SIZES: Final = (10_000,)
_STARTS: Final = 3
_BACK: Final = 10_000
_ROUNDS: Final = 5
_LOAD: Final = Load("notifications", connections=16, rounds=5, seconds=1.0)
_MILLISECONDS: Final = 1e3
_MIB: Final = 1024 * 1024


async def measure_growth(folder: Path, *, quick: bool) -> list[Row]:
    """Measure at each size of the event log.

    Args:
        folder: The folder of keys and the event log; about 4 GB.
        quick: Measure the smallest size only.

    Raises:
        RuntimeError: A server did not start or ended a stream.
    """
    ground = await Ground.prepare(folder)
    rows: list[Row] = []
    for size in _QUICK_SIZES if quick else _SIZES:
        filled = await asyncio.to_thread(fill, ground.config.event_log, size)
        rows += [await _start(ground, size), await _replay(ground, size, filled), await _intake(ground, size)]
    return rows


async def _start(ground: Ground, size: int) -> Row:
    seconds: list[float] = []
    memory: list[float] = []
    for _ in range(_STARTS):
        async with started(ground) as (served, took):
            seconds.append(took)
            memory.append(rss_mib(served.pid))
    log_mib = ground.config.event_log.stat().st_size / _MIB
    more: dict[str, Sequence[float]] = {"ready_ms": [_MILLISECONDS * each for each in seconds], "log_mib": [log_mib]}
    return Row(_SCENARIO, f"{size:,} stored, start", "gateway", rss_mib=memory, more=more)


async def _intake(ground: Ground, size: int) -> Row:
    async with ground.gateway() as served, loader(ground.config.pki) as load:
        server = Server("gateway", int(served.edge.rpartition(":")[2]), (served.pid,))
        (row,) = await measure_in_turns(_SCENARIO, load, [server], [_LOAD])
    return replace(row, case=f"{size:,} stored, intake over {row.case}")


async def _replay(ground: Ground, size: int, filled: Filled) -> Row:
    async with ground.gateway() as served, audience(ground.config.pki) as watching:
        rounds = [await replay(watching, served.grpc, served.pid, filled, _BACK) for _ in range(_ROUNDS)]
    return replay_row(_SCENARIO, f"{size:,} stored, replay of {_BACK:,}", "gateway", rounds)


if __name__ == "__main__":
    run_alone(measure_growth)
