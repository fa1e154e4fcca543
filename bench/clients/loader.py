"""The controller of the load's process, see `bench.clients.load`.

Servers are loaded in turns: other activity on the machine changes slowly, and so affects each of a round alike.
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
        """Wrap a running process; `loader` starts one."""
        self._process = process

    async def put(self, server: Server, traffic: Kind, *, connections: int, seconds: float, rate: float) -> Outcome:
        """Load a server.

        Args:
            server: The server.
            traffic: The kind of requests.
            connections: The number of connections, opened before the load starts.
            seconds: The duration.
            rate: Requests per second; 0 for the maximum.

        Raises:
            RuntimeError: The load failed; standard error has the reason.
        """
        order = Order(server.port, server.pids, traffic, connections, seconds, rate)
        if self._process.stdin is None:
            raise RuntimeError("The load's process has no standard input.")
        self._process.stdin.write(orjson.dumps(asdict(order)) + b"\n")
        answer = await line(self._process, 2 * seconds + _LATEST_SECONDS)
        return Outcome(**orjson.loads(answer))


@asynccontextmanager
async def loader(pki: Pki) -> AsyncIterator[Loader]:
    """Run the load's process for the duration of the block."""
    arguments = (ISSUER_ID, pki.d1_client.certificate, pki.d1_client.key, pki.server_ca)
    async with python("bench.clients.load", *arguments) as process:
        yield Loader(process)


@dataclass(frozen=True, slots=True)
class Load:
    """The load of each server, and the number of rounds."""

    traffic: Kind
    connections: int
    rounds: int
    seconds: float
    rate: float = 0.0
    """Requests per second; 0 for the maximum."""
    warm_up_seconds: float = 0.5
    """The duration of the unmeasured warm-up."""

    @property
    def case(self) -> str:
        """The load as a label."""
        connections = f"{self.connections} connection{'' if self.connections == 1 else 's'}"
        return f"{self.rate:.0f}/s over {connections}" if self.rate else connections


async def measure_in_turns(
    scenario: str, loader: Loader, servers: Sequence[Server], loads: Iterable[Load]
) -> list[Row]:
    """Apply each load to the servers in turns. Return a row for each load and server, in their order."""
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
    """Return a server's row under a load, from the outcome of each round."""

    def each(value: Callable[[Outcome], float]) -> list[float]:
        return [value(outcome) for outcome in outcomes]

    return Row(
        scenario,
        load.case,
        server,
        # A given rate is not a result.
        per_second=() if load.rate else each(lambda outcome: outcome.accepted / outcome.seconds),
        p50_ms=each(lambda outcome: _percentile(outcome, 50)),
        p95_ms=each(lambda outcome: _percentile(outcome, 95)),
        p99_ms=each(lambda outcome: _percentile(outcome, 99)),
        cpu_us=each(lambda outcome: _MICROSECONDS * outcome.server_cpu_seconds / outcome.accepted),
        rss_mib=each(lambda outcome: outcome.server_rss_mib),
        # Near 100 the load itself is the bottleneck.
        more={"load_cpu_percent": each(lambda outcome: 100 * outcome.load_cpu_seconds / outcome.seconds)},
    )


def _percentile(outcome: Outcome, percent: int) -> float:
    """Return a percentile of the latencies (nearest rank), in milliseconds."""
    rank = -(-percent * len(outcome.latencies) // 100)
    return _MILLISECONDS * outcome.latencies[max(rank, 1) - 1]
