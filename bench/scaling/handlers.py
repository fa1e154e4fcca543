"""The cost of a callback with more and more handlers connected."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.clients.loader import Load, loader, measure_in_turns
from bench.common.processes import Ground, Server, handler
from bench.common.results import Row

__all__ = ["measure_handlers"]

_COUNTS: Final = (1, 10, 100, 500)
_QUICK_COUNTS: Final = (1, 100)
_LOAD: Final = Load("callbacks", connections=16, rounds=5, seconds=1.0)
_QUICK_LOAD: Final = Load("callbacks", connections=16, rounds=2, seconds=0.5)


async def measure_handlers(scenario: str, folder: Path, *, quick: bool) -> list[Row]:
    """Send callbacks over 16 connections that are never idle, to a gateway with so many handlers.

    Args:
        scenario: The scenario's name.
        folder: The folder of keys and settings.
        quick: Measure fewer numbers, in shorter rounds.

    Raises:
        RuntimeError: A server did not start, or a callback failed.
    """
    await asyncio.to_thread(folder.mkdir)
    ground = await Ground.prepare(folder)
    # All handlers are one caller, which may have 100 streams by default.
    ground = replace(ground, config=replace(ground.config, more={"grpc": {"max_streams_per_caller": 1000}}))
    counts = _QUICK_COUNTS if quick else _COUNTS
    async with AsyncExitStack() as stack:
        loading = await stack.enter_async_context(loader(ground.config.pki))
        # All at once, so that they are loaded in turns.
        servers = [await stack.enter_async_context(_handled(ground, folder, count)) for count in counts]
        rows = await measure_in_turns(scenario, loading, servers, [_QUICK_LOAD if quick else _LOAD])
    return [replace(row, case=f"callbacks, {row.server}", server="gateway") for row in rows]


@asynccontextmanager
async def _handled(ground: Ground, folder: Path, count: int) -> AsyncIterator[Server]:
    """Run a gateway with so many handlers for the duration of the block."""
    own = folder / str(count)
    await asyncio.to_thread(own.mkdir)
    config = replace(ground.config, event_log=own / "d1-gateway.db")
    async with (
        replace(ground, folder=own, config=config).gateway() as served,
        handler(served.grpc, config.pki, count=count),
    ):
        name = f"{count} handler{'' if count == 1 else 's'}"
        yield Server(name, int(served.edge.rpartition(":")[2]), (served.pid,))
