"""What is measured of notifications, and how often."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.load import Outcome
from bench.processes import Processes, Server
from bench.turns import Load, cpu_microseconds, in_turns, percentile

__all__ = ["RATE", "Latency", "Throughput", "measure_latency", "measure_throughput"]

RATE: Final = 500.0
"""The fixed load, in requests a second."""

_RATE_CONNECTIONS = 32
_RATE_ROUNDS = 3
_RATE_SECONDS = 2.5


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
    outcomes = await in_turns(processes, processes.storing, Load("notifications", connections, rounds, seconds))
    return [_throughput(server, connections, of) for server, of in zip(processes.storing, outcomes, strict=True)]


async def measure_latency(processes: Processes) -> list[Latency]:
    """Put the fixed load on the servers in turns. Returns what was measured of each, in their order."""
    load = Load("notifications", _RATE_CONNECTIONS, _RATE_ROUNDS, _RATE_SECONDS, RATE)
    outcomes = await in_turns(processes, processes.storing, load)
    return [_latency(server, of) for server, of in zip(processes.storing, outcomes, strict=True)]


def _throughput(server: Server, connections: int, outcomes: Sequence[Outcome]) -> Throughput:
    return Throughput(
        server.name,
        connections,
        _each(outcomes, lambda outcome: outcome.accepted / outcome.seconds),
        _each(outcomes, cpu_microseconds),
        _each(outcomes, lambda outcome: outcome.load_cpu_seconds / outcome.seconds),
    )


def _latency(server: Server, outcomes: Sequence[Outcome]) -> Latency:
    return Latency(
        server.name,
        _each(outcomes, lambda outcome: percentile(outcome, 50)),
        _each(outcomes, lambda outcome: percentile(outcome, 99)),
        _each(outcomes, lambda outcome: percentile(outcome, 100)),
    )


def _each(outcomes: Sequence[Outcome], value: Callable[[Outcome], float]) -> list[float]:
    return [value(outcome) for outcome in outcomes]
