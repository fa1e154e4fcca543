"""The gateway's start-up time and idle memory.

Alone: ``python -m bench.scenarios.start [--quick]``.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import orjson

from bench.common.processes import Ground, line, python
from bench.common.report import run_alone
from bench.common.results import Row
from bench.common.usage import rss_mib
from sandbox.gateway import GatewayProcess

__all__ = ["measure_start", "started"]

_SCENARIO: Final = "start"
_CASE: Final = "start, then idle"
_STARTS: Final = 5
_QUICK_STARTS: Final = 2
_SETTLING_SECONDS: Final = 0.5
_MILLISECONDS: Final = 1e3


async def measure_start(folder: Path, *, quick: bool) -> list[Row]:
    """Start the gateway and its baseline in turns, on an empty event log.

    Args:
        folder: The folder of keys and the event log.
        quick: Start them less often.

    Raises:
        RuntimeError: A server did not start.
    """
    ground = await Ground.prepare(folder)
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    for _ in range(_QUICK_STARTS if quick else _STARTS):
        async with started(ground) as (served, seconds):
            ours.append((seconds, await _idle_mib(served.pid)))
        theirs.append(await _bare(ground))
    return [_row("gateway", ours), _row("bare grpc.aio and aiohttp", theirs)]


@asynccontextmanager
async def started(ground: Ground) -> AsyncIterator[tuple[GatewayProcess, float]]:
    """Run a gateway for the duration of the block. Yield it and the seconds until it was ready."""
    began = time.time()
    async with ground.gateway() as served:
        said = next(each for each in served.log.read_bytes().splitlines() if b'"event":"gateway_started"' in each)
        yield served, datetime.fromisoformat(orjson.loads(said)["timestamp"]).timestamp() - began


async def _bare(ground: Ground) -> tuple[float, float]:
    pki = ground.config.pki
    began = time.time()
    async with python("bench.baselines.bare_start", pki.grpc_server.certificate, pki.grpc_server.key) as process:
        await line(process)
        seconds = time.time() - began
        return seconds, await _idle_mib(process.pid)


async def _idle_mib(pid: int) -> float:
    # By then the memory of start-up objects is released.
    await asyncio.sleep(_SETTLING_SECONDS)
    return rss_mib(pid)


def _row(server: str, starts: list[tuple[float, float]]) -> Row:
    return Row(
        _SCENARIO,
        _CASE,
        server,
        rss_mib=[memory for _, memory in starts],
        more={"ready_ms": [_MILLISECONDS * seconds for seconds, _ in starts]},
    )


if __name__ == "__main__":
    run_alone(measure_start)
