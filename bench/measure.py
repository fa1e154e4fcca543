"""What is measured, and how often."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.load import Outcome
from bench.processes import Processes, Server

__all__ = ["RATE", "Latency", "Throughput", "measure_latency", "measure_throughput"]

RATE: Final = 500.0
"""The fixed load, in requests a second."""

_WARM_UP_SECONDS = 1.0
_RATE_CONNECTIONS = 32
_RATE_ROUNDS = 3
_RATE_SECONDS = 2.5
_MICROSECONDS = 1e6
_MILLISECONDS = 1e3


@dataclass(frozen=True, slots=True)
class Throughput:
    """One server under as much load as it takes, a value for each round."""

    server: str
    connections: int
    accepted_per_second: Sequence[float]
    cpu_microseconds: Sequence[float]
    """The server's processor time for a request."""
    load_utilisation: Sequence[float]
    """How much of one processor the load itself used; near 1 it is the load that is measured."""


@dataclass(frozen=True, slots=True)
class Latency:
    """One server under the fixed load, a value for each round, in milliseconds from when a request was due."""

    server: str
    median: Sequence[float]
    p99: Sequence[float]
    worst: Sequence[float]


async def measure_throughput(processes: Processes, connections: int, rounds: int, seconds: float) -> list[Throughput]:
    """Load the servers in turns. Returns what was measured of each, in their order."""
    outcomes = await _in_turns(processes, connections=connections, rounds=rounds, seconds=seconds)
    return [_throughput(server, connections, of) for server, of in zip(processes.servers, outcomes, strict=True)]


async def measure_latency(processes: Processes) -> list[Latency]:
    """Put the fixed load on the servers in turns. Returns what was measured of each, in their order."""
    outcomes = await _in_turns(
        processes, connections=_RATE_CONNECTIONS, rounds=_RATE_ROUNDS, seconds=_RATE_SECONDS, rate=RATE
    )
    return [_latency(server, of) for server, of in zip(processes.servers, outcomes, strict=True)]


async def _in_turns(
    processes: Processes, *, connections: int, rounds: int, seconds: float, rate: float = 0.0
) -> list[list[Outcome]]:
    for server in processes.servers:
        await processes.load(server, connections=connections, seconds=_WARM_UP_SECONDS, rate=rate)
    outcomes: list[list[Outcome]] = [[] for _ in processes.servers]
    for _ in range(rounds):
        for server, kept in zip(processes.servers, outcomes, strict=True):
            kept.append(await processes.load(server, connections=connections, seconds=seconds, rate=rate))
    return outcomes


def _throughput(server: Server, connections: int, outcomes: Sequence[Outcome]) -> Throughput:
    return Throughput(
        server.name,
        connections,
        _each(outcomes, lambda outcome: outcome.accepted / outcome.seconds),
        _each(outcomes, lambda outcome: _MICROSECONDS * outcome.server_cpu_seconds / outcome.accepted),
        _each(outcomes, lambda outcome: outcome.load_cpu_seconds / outcome.seconds),
    )


def _latency(server: Server, outcomes: Sequence[Outcome]) -> Latency:
    return Latency(
        server.name,
        _each(outcomes, lambda outcome: _percentile(outcome, 50)),
        _each(outcomes, lambda outcome: _percentile(outcome, 99)),
        _each(outcomes, lambda outcome: _percentile(outcome, 100)),
    )


def _each(outcomes: Sequence[Outcome], value: Callable[[Outcome], float]) -> list[float]:
    return [value(outcome) for outcome in outcomes]


def _percentile(outcome: Outcome, percent: int) -> float:
    """The latency that so many percent of the requests did not exceed (nearest rank), in milliseconds."""
    rank = -(-percent * len(outcome.latencies) // 100)
    return _MILLISECONDS * outcome.latencies[max(rank, 1) - 1]
