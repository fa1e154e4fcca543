"""The latency of calls at a steady rate far below saturation, over one connection: see `bench.clients.calls`."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Final

import orjson

from bench.common.processes import line, python
from bench.common.results import Row
from bench.common.usage import cpu_seconds, rss_mib
from bench.unary.calls import Call
from bench.unary.servers import Server, Stage

__all__ = ["Steady", "measure_steady"]

_MICROSECONDS: Final = 1e6
_MILLISECONDS: Final = 1e3
_LATEST_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Steady:
    """A steady load over one connection."""

    call: Call
    rate: int
    """Calls per second."""
    rounds: int
    seconds: float
    """The duration of a round."""


@dataclass(frozen=True, slots=True)
class _Round:
    latencies: Sequence[float]
    """In seconds, sorted."""
    cpu_seconds: float
    rss_mib: float

    def percentile_ms(self, percent: int) -> float:
        """Return a percentile of the latencies (nearest rank)."""
        return _MILLISECONDS * self.latencies[-(-percent * len(self.latencies) // 100) - 1]


async def measure_steady(scenario: str, stage: Stage, steady: Steady, names: Sequence[str]) -> list[Row]:
    """Call the named servers of a stage in turns. Return a row for each.

    Raises:
        RuntimeError: A call failed.
    """
    async with AsyncExitStack() as stack:
        loads = [
            (server, await stack.enter_async_context(_load(stage, server, steady.call)))
            for server in stage.servers
            if server.name in names
        ]
        rounds: dict[Server, list[_Round]] = {server: [] for server, _ in loads}
        for number in range(-1, steady.rounds):
            for server, load in loads:
                taken = await _round(steady, server, load)
                # The first round warms up.
                if number >= 0:
                    rounds[server].append(taken)
    case = f"{steady.call.name}, {steady.rate}/s over 1 connection, {stage.transport}"
    return [_row(scenario, case, server.name, of) for server, of in rounds.items()]


def _load(stage: Stage, server: Server, call: Call) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    authorization = server.headers["authorization"]
    return python("bench.clients.calls", server.address, stage.server_ca, call.rpc, authorization, call.frame.hex())


async def _round(steady: Steady, server: Server, load: asyncio.subprocess.Process) -> _Round:
    if load.stdin is None:
        raise RuntimeError("The load's process has no standard input.")
    before, cpu = await server.counter.count(), cpu_seconds(server.pid)
    load.stdin.write(f"{steady.rate} {steady.seconds}\n".encode())
    latencies = orjson.loads(await line(load, steady.seconds + _LATEST_SECONDS))
    spent, made = cpu_seconds(server.pid) - cpu, await server.counter.count() - before
    if made != len(latencies):
        raise RuntimeError(f"{server.name} responded to {len(latencies)}, but processed {made}.")
    return _Round(latencies, spent / made, rss_mib(server.pid))


def _row(scenario: str, case: str, server: str, rounds: Sequence[_Round]) -> Row:
    return Row(
        scenario,
        case,
        server,
        p50_ms=[each.percentile_ms(50) for each in rounds],
        p95_ms=[each.percentile_ms(95) for each in rounds],
        p99_ms=[each.percentile_ms(99) for each in rounds],
        cpu_us=[_MICROSECONDS * each.cpu_seconds for each in rounds],
        rss_mib=[each.rss_mib for each in rounds],
        more={"p99_over_p50": [each.percentile_ms(99) / each.percentile_ms(50) for each in rounds]},
    )
