"""Loads servers in turns: what else the machine does changes slowly, and so touches each of a round alike."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.load import Outcome
from bench.processes import Loader, Server
from bench.results import Row
from bench.traffic import Kind

__all__ = ["Load", "load_row", "measure_in_turns"]

_MICROSECONDS = 1e6
_MILLISECONDS = 1e3


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
