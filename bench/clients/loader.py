"""The way to the process of the load, see `bench.clients.load`.

Servers are loaded in turns: what else the machine does changes slowly, and so touches each of a round alike.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import orjson

from bench.clients.load import Order, Outcome
from bench.clients.traffic import Kind
from bench.common.processes import Server, line, python
from bench.common.results import Row
from sandbox.common.pki import Pki
from sandbox.sandbox import ISSUER_ID

__all__ = ["Load", "Loader", "load_row", "loader", "measure_in_turns"]

_MICROSECONDS = 1e6
_MILLISECONDS = 1e3
_LATEST_SECONDS = 20.0


class Loader:
    """The process that makes the load."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Hold a process that runs; `loader` starts one."""
        self._process = process

    async def put(self, server: Server, traffic: Kind, *, connections: int, seconds: float, rate: float) -> Outcome:
        """Put load on a server.

        Args:
            server: Which one.
            traffic: What it is sent.
            connections: Over how many connections, made before the load begins.
            seconds: For how long.
            rate: Requests a second; 0 for as many as it takes.

        Raises:
            RuntimeError: The load broke off; why stands on standard error.
        """
        order = Order(server.port, server.pids, traffic, connections, seconds, rate)
        if self._process.stdin is None:
            raise RuntimeError("The load takes no orders.")
        self._process.stdin.write(orjson.dumps(asdict(order)) + b"\n")
        answer = await line(self._process, 2 * seconds + _LATEST_SECONDS)
        return Outcome(**orjson.loads(answer))


@asynccontextmanager
async def loader(pki: Pki) -> AsyncIterator[Loader]:
    """Have the load at hand for as long as the block lasts."""
    arguments = (ISSUER_ID, pki.d1_client.certificate, pki.d1_client.key, pki.server_ca)
    async with python("bench.clients.load", *arguments) as process:
        yield Loader(process)


@dataclass(frozen=True, slots=True)
class Load:
    """What each server is given, and how often."""

    traffic: Kind
    connections: int
    rounds: int
    seconds: float
    rate: float = 0.0
    """Requests a second; 0 for as many as the server takes."""
    warm_up_seconds: float = 0.5
    """Before the first round, and not measured."""

    @property
    def case(self) -> str:
        """The load in words."""
        connections = f"{self.connections} connection{'' if self.connections == 1 else 's'}"
        return f"{self.rate:.0f}/s over {connections}" if self.rate else connections


async def measure_in_turns(
    scenario: str, loader: Loader, servers: Sequence[Server], loads: Iterable[Load]
) -> list[Row]:
    """Put one load after the other on the servers in turns. Returns a row for each load and server, in their order."""
    return [
        load_row(scenario, load, server.name, outcomes)
        for load in loads
        for server, outcomes in zip(servers, await _in_turns(loader, servers, load), strict=True)
    ]


async def _in_turns(loader: Loader, servers: Sequence[Server], load: Load) -> list[list[Outcome]]:
    async def put(server: Server, seconds: float) -> Outcome:
        return await loader.put(server, load.traffic, connections=load.connections, seconds=seconds, rate=load.rate)

    for server in servers:
        await put(server, load.warm_up_seconds)
    outcomes: list[list[Outcome]] = [[] for _ in servers]
    for _ in range(load.rounds):
        for server, kept in zip(servers, outcomes, strict=True):
            kept.append(await put(server, load.seconds))
    return outcomes


def load_row(scenario: str, load: Load, server: str, outcomes: Sequence[Outcome]) -> Row:
    """Make the row of a server under a load, from what came of each round."""

    def each(value: Callable[[Outcome], float]) -> list[float]:
        return [value(outcome) for outcome in outcomes]

    return Row(
        scenario,
        load.case,
        server,
        # A rate that is given is none that was found.
        per_second=() if load.rate else each(lambda outcome: outcome.accepted / outcome.seconds),
        p50_ms=each(lambda outcome: _percentile(outcome, 50)),
        p95_ms=each(lambda outcome: _percentile(outcome, 95)),
        p99_ms=each(lambda outcome: _percentile(outcome, 99)),
        cpu_us=each(lambda outcome: _MICROSECONDS * outcome.server_cpu_seconds / outcome.accepted),
        rss_mib=each(lambda outcome: outcome.server_rss_mib),
        # Near 100 it is the load that is measured.
        more={"load_cpu_percent": each(lambda outcome: 100 * outcome.load_cpu_seconds / outcome.seconds)},
    )


def _percentile(outcome: Outcome, percent: int) -> float:
    """The latency that so many percent of the requests did not exceed (nearest rank), in milliseconds."""
    rank = -(-percent * len(outcome.latencies) // 100)
    return _MILLISECONDS * outcome.latencies[max(rank, 1) - 1]
