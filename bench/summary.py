"""The most important figures in a few lines, for ``docs/benchmarks.md`` and ``README.md``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.common.report import Table
from bench.common.results import Row, figures, find, format_figures, ratio
from bench.latest import Measured

__all__ = ["SUMMARY", "Line", "summary_table"]

_GATEWAY: Final = "gateway"


@dataclass(frozen=True, slots=True)
class Line:
    """One load."""

    what: str
    scenario: str
    case: str
    said: Sequence[str]
    """The figures, each as ``NAME|TEXT`` with ``{}`` for its median."""
    against: Mapping[str, str]
    """The baselines, with what to call each."""
    is_short: bool = False
    """Whether it is among the few for ``README.md``."""


_RATE: Final = "per_second|{}/s"
_LATENCY: Final = ("p50_ms|p50 {} ms", "p99_ms|p99 {} ms")
_CALL: Final = {"pass-through": "a pass-through without checks", "grpc-js": "one in Node"}

SUMMARY: Final[Sequence[Line]] = (
    Line(
        "notifications stored and fsynced, 64 connections",
        "intake",
        "64 connections",
        (_RATE, _LATENCY[1]),
        {
            "storing nothing": "the same edge storing nothing",
            "JetStream, sync default": "that edge on JetStream with NATS's defaults",
        },
        is_short=True,
    ),
    Line("the same at 500/s", "intake", "500/s over 32 connections", _LATENCY, {}),
    Line(
        "notifications delivered, 100 watchers, a burst",
        "fan-out",
        "100 watchers, burst of 2,000",
        (_RATE,),
        {"edge and bare stream": "an edge and a stream that store nothing"},
        is_short=True,
    ),
    Line(
        "100 watchers catch up together on 2,000 notifications",
        "fan-out",
        "100 watchers catch up on 2,000",
        (_RATE,),
        {"bare stream": "a stream that sends the same bytes from memory"},
    ),
    Line(
        "catching up on a million notifications",
        "replay",
        "1,000,000 back",
        ("last_ms|{} ms",),
        {"bare stream": "a stream from memory"},
    ),
    Line(
        "callbacks through a handler, 16 connections never idle",
        "callbacks",
        "16 connections",
        (_RATE,),
        {"bare stream": "a bare stream"},
    ),
    Line("callbacks at 500/s", "callbacks", "500/s over 16 connections", _LATENCY, {}, is_short=True),
    Line(
        "SuspendCard through to REST, 32 in flight, all checks on",
        "unary",
        "SuspendCard, 32 in flight, TLS",
        (_RATE,),
        _CALL,
        is_short=True,
    ),
    Line("the same at 200/s", "unary", "SuspendCard, 200/s over 1 connection, TLS", _LATENCY, {}),
    Line(
        "RegisterCard, which encrypts card data, 32 in flight",
        "unary",
        "RegisterCard, 32 in flight, TLS",
        (_RATE,),
        {"pass-through": "a pass-through without checks and encryption"},
    ),
    Line(
        "Authenticate, a full 2.2.0 browser AReq, 32 in flight",
        "authenticate",
        "Authenticate, 32 in flight, TLS",
        (_RATE,),
        {"pass-through": "a pass-through without rules"},
        is_short=True,
    ),
    Line("start; memory at rest", "start", "start, then idle", ("ready_ms|{} ms", "rss_mib|{} MiB"), {}),
)
"""All lines, in the order of the table."""


def summary_table(found: Mapping[str, Measured], *, is_short: bool = False) -> Table:
    """Return the table of all lines, or of the short ones.

    Raises:
        LookupError: A figure was not measured.
    """
    rows = [row for measured in found.values() for row in measured.rows]
    cells = [_cells(line, rows) for line in SUMMARY if line.is_short or not is_short]
    return Table(["what", "the gateway", "its share of"], cells)


def _cells(line: Line, rows: Sequence[Row]) -> Sequence[str]:
    ours = find(rows, line.scenario, line.case, _GATEWAY)
    said = [(text, figures(ours, name)) for name, _, text in (each.partition("|") for each in line.said)]
    shares = [
        f"{ratio(ours, find(rows, line.scenario, line.case, server)):.2f} of {words}"
        for server, words in line.against.items()
    ]
    return [
        line.what,
        ", ".join(text.format(format_figures(values, spread=False)) for text, values in said),
        "; ".join(shares),
    ]
