"""The latency of callbacks: over the edge, the broker and a handler's stream, and back."""

from pathlib import Path
from typing import Final

from bench.clients.loader import Load, loader, measure_in_turns
from bench.common.processes import Ground, Server, baseline, handler, line
from bench.common.results import Row

__all__ = ["measure_round_trips"]

_LOADS: Final = (
    Load("callbacks", connections=1, rounds=5, seconds=0.7),
    Load("callbacks", connections=16, rounds=7, seconds=1.0),
    Load("callbacks", connections=16, rounds=5, seconds=1.5, rate=500.0),
)
_QUICK_LOADS: Final = (Load("callbacks", connections=16, rounds=5, seconds=0.35, warm_up_seconds=0.3),)


async def measure_round_trips(folder: Path, *, quick: bool) -> list[Row]:
    """Send callbacks to the gateway and a bare stream in turns, each with one handler in its own process.

    Args:
        folder: The folder of keys and settings.
        quick: Measure only what the floors of a quick run need.

    Raises:
        RuntimeError: A server did not start, or a callback failed.
    """
    ground = await Ground.prepare(folder)
    pki = ground.config.pki
    async with (
        ground.gateway() as served,
        baseline(ground, "stream") as stream,
        loader(pki) as load,
    ):
        port, address = (await line(stream)).decode().split()
        servers = (
            Server("gateway", int(served.edge.rpartition(":")[2]), (served.pid,)),
            Server("bare stream", int(port), (stream.pid,)),
        )
        async with handler(served.grpc, pki), handler(address, pki):
            return await measure_in_turns("callbacks", load, servers, _QUICK_LOADS if quick else _LOADS)
