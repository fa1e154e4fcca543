"""Loads servers in turns: what else the machine does changes slowly, and so touches each of a round alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.load import Outcome
from bench.processes import Processes, Server
from bench.traffic import Kind

__all__ = ["Load", "cpu_microseconds", "in_turns", "percentile"]

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
    warm_up_seconds: float = 1.0
    """Before the first round, and not measured."""


async def in_turns(processes: Processes, servers: Sequence[Server], load: Load) -> list[list[Outcome]]:
    """Load the servers in turns. Returns the outcomes of each server's rounds, in the order of the servers."""

    async def put(server: Server, seconds: float) -> Outcome:
        return await processes.load(server, load.traffic, connections=load.connections, seconds=seconds, rate=load.rate)

    for server in servers:
        await put(server, load.warm_up_seconds)
    outcomes: list[list[Outcome]] = [[] for _ in servers]
    for _ in range(load.rounds):
        for server, kept in zip(servers, outcomes, strict=True):
            kept.append(await put(server, load.seconds))
    return outcomes


def cpu_microseconds(outcome: Outcome) -> float:
    """The server's processor time for a request."""
    return _MICROSECONDS * outcome.server_cpu_seconds / outcome.accepted


def percentile(outcome: Outcome, percent: int) -> float:
    """The latency that so many percent of the requests did not exceed (nearest rank), in milliseconds."""
    rank = -(-percent * len(outcome.latencies) // 100)
    return _MILLISECONDS * outcome.latencies[max(rank, 1) - 1]
