"""What a backup takes, and what the gateway takes in meanwhile: ``python -m bench.scenarios.backup [--quick]``.

The gateway serves from a log of a million notifications. In turns, it takes notifications alone, and while ``d1-gateway
log backup`` copies that log on the same disk. A minute, and 2 GB.
"""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.clients.load import Outcome
from bench.clients.loader import Load, Loader, load_row, loader
from bench.common.processes import Ground, Server
from bench.common.report import run_alone
from bench.common.results import Row
from bench.scenarios.stored import fill

__all__ = ["measure_backup"]

_SCENARIO: Final = "backup"
_STORED: Final = 1_000_000
_QUICK_STORED: Final = 100_000
_LOAD: Final = Load("notifications", connections=64, rounds=4, seconds=3.0)
_QUICK_LOAD: Final = Load("notifications", connections=64, rounds=3, seconds=1.0)
_SETTLING_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.01


async def measure_backup(folder: Path, *, quick: bool) -> list[Row]:
    """Measure in turns with a backup and without.

    Args:
        folder: The folder of keys, the event log and the backup; its disk affects the results.
        quick: A tenth of the notifications, and fewer rounds.

    Raises:
        RuntimeError: A process failed.
    """
    ground = await Ground.prepare(folder)
    await asyncio.to_thread(fill, ground.config.event_log, _QUICK_STORED if quick else _STORED)
    load = _QUICK_LOAD if quick else _LOAD
    alone: list[Outcome] = []
    beside: list[Outcome] = []
    seconds: list[float] = []
    async with ground.gateway() as served, loader(ground.config.pki) as loading:
        server = Server("gateway", int(served.edge.rpartition(":")[2]), (served.pid,))
        await _put(loading, server, load, load.warm_up_seconds)
        for _ in range(load.rounds):
            alone.append(await _put(loading, server, load, load.seconds))
            begun = asyncio.Event()
            backing_up = asyncio.create_task(_back_up(ground, begun))
            await begun.wait()
            beside.append(await _put(loading, server, load, load.seconds))
            seconds.append(await backing_up)
            await asyncio.sleep(_SETTLING_SECONDS)
    row = load_row(_SCENARIO, load, "gateway", beside)
    row = replace(row, more={**row.more, "backup_seconds": seconds})
    return [row, load_row(_SCENARIO, load, "gateway without a backup", alone)]


async def _put(loading: Loader, server: Server, load: Load, seconds: float) -> Outcome:
    return await loading.put(server, load.traffic, connections=load.connections, seconds=seconds, rate=load.rate)


async def _back_up(ground: Ground, begun: asyncio.Event) -> float:
    """Back up, and return the seconds that the command took. The event is set once it copies."""
    began, file = time.monotonic(), ground.folder / "backup.db"
    command = Path(sys.executable).with_name("d1-gateway")
    arguments = ("log", "backup", file, "--force", "--config", ground.settings)
    process = await asyncio.create_subprocess_exec(command, *arguments, stdout=PIPE, stderr=PIPE)
    while process.returncode is None and not file.with_name(f"{file.name}.part").exists():  # noqa: ASYNC110  its work
        await asyncio.sleep(_PAUSE_SECONDS)
    begun.set()
    _, stderr = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"The backup failed: {stderr.decode()}")
    return time.monotonic() - began


if __name__ == "__main__":
    run_alone(measure_backup)
