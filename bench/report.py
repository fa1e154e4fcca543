"""The measurements as a table, and whether they are good enough."""

import os
import platform
import sqlite3
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.measure import RATE, Latency, Throughput
from bench.round_trip import IN_FLIGHT, RoundTrip

__all__ = [
    "Floor",
    "floors",
    "round_trip_floors",
    "show_conditions",
    "show_floors",
    "show_latency",
    "show_round_trips",
    "show_throughput",
]

LEAST_RATIO: Final = 0.6
"""Of what the same edge takes when it stores nothing, it takes at least this much, with `DECISIVE_CONNECTIONS`."""
MOST_P99_MILLISECONDS: Final = 25.0
"""At the fixed load, 99 of 100 notifications are on disk and answered this soon."""
DECISIVE_CONNECTIONS: Final = 64
MOST_ROUND_TRIP_P50_MILLISECONDS: Final = 1.5
"""With `IN_FLIGHT` connections, half of D1's questions are answered this soon."""
MOST_ROUND_TRIP_P99_MILLISECONDS: Final = 10.0
"""And 99 of 100 this soon."""

_LIBRARIES = ("aiohttp", "uvloop", "orjson", "protobuf", "grpcio")


@dataclass(frozen=True, slots=True)
class Floor:
    """A requirement, and what came of it."""

    text: str
    is_met: bool
    is_held: bool = True
    """Whether a run that misses it fails."""


def floors(throughput: Iterable[Sequence[Throughput]], latency: Sequence[Latency]) -> Iterator[Floor]:
    """Hold the measurements against what is required of the edge, which comes before its baselines."""
    for edge, nothing, _ in throughput:
        if edge.connections == DECISIVE_CONNECTIONS:
            ratio = median(_ratios(edge, nothing))
            text = f"at {DECISIVE_CONNECTIONS} connections the edge takes {ratio:.2f} of what it takes storing nothing"
            yield Floor(f"{text}, at least {LEAST_RATIO}", ratio >= LEAST_RATIO)
    p99 = median(latency[0].p99)
    text = f"at {RATE:.0f}/s the edge's p99 is {p99:.1f} ms, below {MOST_P99_MILLISECONDS:.0f} ms"
    yield Floor(text, p99 < MOST_P99_MILLISECONDS)


def round_trip_floors(round_trips: Iterable[Sequence[RoundTrip]]) -> Iterator[Floor]:
    """Hold the questions against what is required of the gateway, which comes before its baseline.

    Where connections are never idle, latency is connections over throughput: 1.5 ms at 16 would be 10,667 a second,
    far beyond what a bare stream of grpc.aio carries. So a run is held to the steady load; the other is shown beside
    it, met or missed.
    """
    most_p50, most_p99 = MOST_ROUND_TRIP_P50_MILLISECONDS, MOST_ROUND_TRIP_P99_MILLISECONDS
    for gateway, bare in round_trips:
        if gateway.load.connections != IN_FLIGHT:
            continue
        p50, p99 = median(gateway.p50), median(gateway.p99)
        text = (
            f"questions, {_describe(gateway)}: p50 {p50:.2f} ms, below {most_p50},"
            f" p99 {p99:.1f} ms, below {most_p99:.0f} (bare stream: {median(bare.p50):.2f} and {median(bare.p99):.1f})"
        )
        yield Floor(text, p50 < most_p50 and p99 < most_p99, is_held=gateway.load.rate > 0)


def show_conditions(console: Console, disk: str) -> None:
    """Print on what was measured."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    console.print(f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, {platform.machine()}; {disk}")
    console.print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {ssl.OPENSSL_VERSION}, {libraries}\n"
    )


def show_throughput(console: Console, loads: Iterable[Sequence[Throughput]]) -> None:
    """Print what was accepted, the edge before its baselines."""
    table = _table(
        "As much as the server takes: median (lowest-highest) of the rounds",
        "connections",
        "server",
        "accepted/s",
        "the edge's share",
        "server CPU us/request",
        "load's CPU",
    )
    for edge, *baselines in loads:
        for measured in (edge, *baselines):
            table.add_row(
                str(measured.connections),
                measured.server,
                _spread(measured.accepted_per_second, 0),
                "" if measured is edge else _spread(_ratios(edge, measured), 2),
                _spread(measured.cpu_microseconds, 0),
                f"{median(measured.load_utilisation):.0%}",
            )
    console.print(table)


def show_latency(console: Console, latencies: Iterable[Latency]) -> None:
    """Print how long it took, the edge before its baselines."""
    table = _table(
        f"At {RATE:.0f}/s, ms from when a request was due: median (lowest-highest) of the rounds",
        "server",
        "p50",
        "p99",
        "worst",
    )
    for measured in latencies:
        table.add_row(
            measured.server, _spread(measured.median, 2), _spread(measured.p99, 2), _spread(measured.worst, 1)
        )
    console.print(table)


def show_round_trips(console: Console, loads: Iterable[Sequence[RoundTrip]]) -> None:
    """Print how long questions took, the gateway before its baseline."""
    table = _table(
        "From D1's question to its answer, ms: median (lowest-highest) of the rounds",
        "connections",
        "server",
        "answered/s",
        "in flight",
        "p50",
        "p95",
        "p99",
        "server CPU us",
    )
    for measured in chain.from_iterable(loads):
        table.add_row(
            _describe(measured),
            measured.server,
            _spread(measured.answered_per_second, 0),
            f"{median(measured.in_flight):.1f}",
            _spread(measured.p50, 2),
            f"{median(measured.p95):.2f}",
            _spread(measured.p99, 1),
            _spread(measured.cpu_microseconds, 0),
        )
    console.print(table)


def show_floors(console: Console, floors: Iterable[Floor]) -> None:
    """Print whether each requirement is met."""
    for floor in floors:
        missed = "[red]MISSED[/red]" if floor.is_held else "[yellow]MISSED[/yellow], not held"
        console.print(f"{'[green]met[/green]   ' if floor.is_met else missed}  {floor.text}")


def _describe(measured: RoundTrip) -> str:
    load = measured.load
    return f"{load.connections}, at {load.rate:.0f}/s" if load.rate else f"{load.connections}, never idle"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column == "server" else "right", no_wrap=True)
    return table


def _ratios(edge: Throughput, baseline: Throughput) -> list[float]:
    # Round by round: what else the machine does changes slowly, and touches both of a round.
    return [ours / theirs for ours, theirs in zip(edge.accepted_per_second, baseline.accepted_per_second, strict=True)]


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"
