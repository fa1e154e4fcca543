"""The cost of taking a notification: the gateway, which stores it on disk before it responds, and baselines.

Two do less than the gateway, two leave the storing to another server, and one is the gateway with that server as its
event log.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from bench.clients.loader import Load, loader, measure_in_turns
from bench.common.processes import Ground, Server, baseline, line
from bench.common.results import Row
from sandbox.nats import NatsServer

__all__ = ["measure_intake"]

# Most of the time goes where the floors are.
_LOADS: Final = (
    Load("notifications", connections=1, rounds=5, seconds=0.6),
    Load("notifications", connections=16, rounds=5, seconds=0.6),
    Load("notifications", connections=64, rounds=7, seconds=0.8),
    Load("notifications", connections=32, rounds=5, seconds=1.2, rate=500.0),
)
_QUICK_LOADS: Final = (Load("notifications", connections=64, rounds=5, seconds=0.35, warm_up_seconds=0.3),)

_SYNC: Final = {"default": "", "always": ", sync_interval: always"}
"""A NATS server's settings. By default it acknowledges before it syncs, which it does every two minutes."""


async def measure_intake(folder: Path, *, quick: bool) -> list[Row]:
    """Send notifications to the servers in turns.

    Args:
        folder: The folder of keys and logs; its disk affects the results.
        quick: Measure only what the floors of a quick run need.

    Raises:
        RuntimeError: A server did not start, or rejected a notification.
    """
    ground = await Ground.prepare(folder)
    starting = [_gateway(ground), _less(ground, "storing nothing", "nothing"), _jetstream(ground, "default")]
    if not quick:
        starting += [_gateway_on_nats(ground), _jetstream(ground, "always"), _less(ground, "bare aiohttp", "bare")]
    async with AsyncExitStack() as stack:
        load = await stack.enter_async_context(loader(ground.config.pki))
        servers = [await stack.enter_async_context(each) for each in starting]
        return await measure_in_turns("intake", load, servers, _QUICK_LOADS if quick else _LOADS)


@asynccontextmanager
async def _gateway(ground: Ground) -> AsyncIterator[Server]:
    async with ground.gateway() as served:
        yield Server("gateway", int(served.edge.rpartition(":")[2]), (served.pid,))


@asynccontextmanager
async def _gateway_on_nats(ground: Ground) -> AsyncIterator[Server]:
    folder = ground.folder / "gateway-on-nats"
    async with (
        await NatsServer.start(folder) as storage,
        ground.gateway_on_nats(folder, storage.url) as served,
    ):
        yield Server("gateway on NATS", int(served.edge.rpartition(":")[2]), (served.pid, storage.pid))


@asynccontextmanager
async def _less(ground: Ground, name: str, kind: str) -> AsyncIterator[Server]:
    async with baseline(ground, kind) as process:
        yield Server(name, int(await line(process)), (process.pid,))


@asynccontextmanager
async def _jetstream(ground: Ground, sync: str) -> AsyncIterator[Server]:
    folder = ground.folder / f"nats-{sync}"
    settings = f'jetstream {{ store_dir: "{folder}"{_SYNC[sync]} }}'
    async with (
        await NatsServer.start(folder, jetstream=False, settings=settings) as storage,
        baseline(ground, "jetstream", storage.url) as process,
    ):
        yield Server(f"JetStream, sync {sync}", int(await line(process)), (process.pid, storage.pid))
