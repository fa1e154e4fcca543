"""How long D1 waits for what it asks: over the edge, the broker and a handler's stream, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.load import Outcome
from bench.measure import RATE
from bench.processes import Processes, Server
from bench.turns import Load, cpu_microseconds, in_turns, percentile

__all__ = ["IN_FLIGHT", "RoundTrip", "measure_round_trips"]

IN_FLIGHT: Final = 16
"""So many connections, each with one question at a time; and one alone, to compare with."""

_LOADS: Final = (
    Load("questions", connections=1, rounds=3, seconds=0.6, warm_up_seconds=0.3),
    Load("questions", connections=IN_FLIGHT, rounds=5, seconds=0.8, warm_up_seconds=0.3),
    Load("questions", connections=IN_FLIGHT, rounds=5, seconds=0.8, rate=RATE, warm_up_seconds=0.3),
)


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One server's questions under one load, a value for each round."""

    server: str
    load: Load
    answered_per_second: Sequence[float]
    in_flight: Sequence[float]
    """How many questions were under way, on average over the time (Little's law)."""
    p50: Sequence[float]
    """In milliseconds, as the other percentiles."""
    p95: Sequence[float]
    p99: Sequence[float]
    cpu_microseconds: Sequence[float]
    """The server's processor time for a question; the handler's and the load's are not in it."""


async def measure_round_trips(processes: Processes) -> list[list[RoundTrip]]:
    """Ask the gateway and its baseline in turns. Returns what was measured of each, load by load."""
    return [
        [
            _round_trip(server, load, of)
            for server, of in zip(processes.asking, await in_turns(processes, processes.asking, load), strict=True)
        ]
        for load in _LOADS
    ]


def _round_trip(server: Server, load: Load, outcomes: Sequence[Outcome]) -> RoundTrip:
    return RoundTrip(
        server.name,
        load,
        answered_per_second=[outcome.accepted / outcome.seconds for outcome in outcomes],
        in_flight=[sum(outcome.latencies) / outcome.seconds for outcome in outcomes],
        p50=[percentile(outcome, 50) for outcome in outcomes],
        p95=[percentile(outcome, 95) for outcome in outcomes],
        p99=[percentile(outcome, 99) for outcome in outcomes],
        cpu_microseconds=[cpu_microseconds(outcome) for outcome in outcomes],
    )
