"""The delivery of notifications to many watchers of one event log: ``python -m bench.scenarios.fan_out [--quick]``.

The watchers wait at the end of the log. They connect first; then D1 posts a burst of notifications at the maximum
rate, and the time counts until the last watcher has the last one. That is the gateway's whole work, so with few
watchers it measures the intake, and only many watchers show the fan-out. Hence two baselines:

- ``edge and bare stream`` does the same work without an event log: the same edge, which stores nothing, and a bare
  stream that sends what arrives at once. It is the reference of the ratio for any number of watchers.
- ``bare stream`` sends the gateway's own messages from memory, without the intake. Nothing over grpc.aio can be faster;
  compare its ``cpu_us``, to which the gateway adds its intake.

Without intake, as for watchers that catch up together, both have the same work to do, and the ratio of their rates is
the cost of fan-out: see `bench.scenarios.catching_up`.

Latencies are measured with a steady load of about 2,000 deliveries per second, far below saturation; with a burst they
would show the length of the burst. The effect of a stalled watcher on the others is measured apart, see
`bench.scenarios.stalled`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.clients.audience import Audience, audience
from bench.clients.posting import Poster, posting
from bench.clients.watching import Sight
from bench.common.processes import Ground, line, python
from bench.common.report import run_alone
from bench.common.results import Row
from bench.common.usage import cpu_seconds, rss_mib
from bench.scenarios.catching_up import measure_catching_up
from bench.scenarios.stalled import measure_stalled

__all__ = ["measure_fan_out"]

_SCENARIO: Final = "fan-out"
_CONNECTIONS: Final = 64
_MICROSECONDS: Final = 1e6
_NANOSECONDS: Final = 1e9
_KIB_A_MIB: Final = 1024
_MANY_WATCHERS: Final = 100


@dataclass(frozen=True, slots=True)
class _Load:
    watchers: int
    burst: int
    """Notifications per round."""
    rate: float
    """Notifications per second, for the latency."""

    @property
    def case(self) -> str:
        return f"{self.watchers:,} watcher{'' if self.watchers == 1 else 's'}"


_LOADS: Final = (_Load(1, 2000, 200), _Load(10, 2000, 200), _Load(100, 2000, 20), _Load(1000, 1000, 2))
_QUICK_LOADS: Final = (_Load(10, 2000, 200),)
_TOGETHER: Final = (1, 10, 100)
"""Watchers that catch up."""
_QUICK_TOGETHER: Final = (10,)
_ROUNDS: Final = 5
_QUICK_ROUNDS: Final = 4
_STEADY_ROUNDS: Final = 3
_STEADY_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Server:
    """A server with its watchers."""

    name: str
    address: str
    pid: int
    audience: Audience
    poster: Poster | None
    """Posts at the server's edge; None for a server that sends from memory."""
    process: asyncio.subprocess.Process | None
    """Takes the names of files, for a server without a poster."""

    async def publish(self, count: int, messages: Path) -> None:
        """Send notifications to the watchers."""
        if self.poster is not None:
            await self.poster.burst(count)
        elif self.process is not None and self.process.stdin is not None:
            self.process.stdin.write(f"{messages} 1\n".encode())
            await line(self.process)


@dataclass(frozen=True, slots=True)
class _Burst:
    seconds: float
    cpu_seconds: float
    rss_mib: float
    sight: Sight


async def measure_fan_out(folder: Path, *, quick: bool) -> list[Row]:
    """Measure the delivery to watchers.

    Args:
        folder: The folder of keys and the event log.
        quick: Measure only what the floors of a quick run need.

    Raises:
        RuntimeError: A server did not start, rejected a notification or ended a stream.
        TimeoutError: A watcher did not get everything.
    """
    ground = await Ground.prepare(folder)
    # All watchers are one caller, which may have 100 streams by default.
    more = {"grpc": {"max_streams_per_caller": 2000}}
    ground = replace(ground, config=replace(ground.config, more=more))
    rows: list[Row] = []
    for load in _QUICK_LOADS if quick else _LOADS:
        async with _servers(ground, quick=quick) as servers:
            rows += await _bursts(ground, servers, load, _QUICK_ROUNDS if quick else _ROUNDS)
            if not quick:
                rows += await _steadily(servers, load)
    rows += await measure_catching_up(ground, _QUICK_TOGETHER if quick else _TOGETHER)
    return rows if quick else rows + await measure_stalled(folder)


@asynccontextmanager
async def _servers(ground: Ground, *, quick: bool) -> AsyncIterator[list[_Server]]:
    """Start the gateway, then its baselines, of which a quick run needs only the first."""
    pki = ground.config.pki
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(ground.gateway())
        poster = await stack.enter_async_context(posting(served.edge, pki, _CONNECTIONS))
        watching = await stack.enter_async_context(audience(pki))
        servers = [_Server("gateway", served.grpc, served.pid, watching, poster, None)]
        for kind, name in (("edge", "edge and bare stream"), ("memory", "bare stream"))[: 1 if quick else 2]:
            process = await stack.enter_async_context(python("bench.baselines.bare_watch", kind, ground.settings))
            address, edge_port = (await line(process)).decode().split()
            bare_poster = (
                await stack.enter_async_context(posting(f":{edge_port}", pki, _CONNECTIONS)) if kind == "edge" else None
            )
            watching = await stack.enter_async_context(audience(pki))
            servers.append(_Server(name, address, process.pid, watching, bare_poster, process))
        yield servers


async def _bursts(ground: Ground, servers: Sequence[_Server], load: _Load, rounds: int) -> list[Row]:
    messages = ground.folder / "messages"
    before: list[float] = []
    for server in servers:
        if server.poster is not None:
            await server.poster.burst(load.burst)
        before.append(rss_mib(server.pid))
        await server.audience.open(server.address, load.watchers)
    found: list[list[_Burst]] = [[] for _ in servers]
    for number in range(-1, rounds):
        for server, kept in zip(servers, found, strict=True):
            burst = await _burst(server, load, messages)
            # The first round warms up.
            if number >= 0:
                kept.append(burst)
    return [_burst_row(server, load, bursts, rss) for server, bursts, rss in zip(servers, found, before, strict=True)]


async def _burst(server: _Server, load: _Load, messages: Path) -> _Burst:
    # The in-memory baseline sends what the gateway sent in the same round.
    await server.audience.expect(load.burst, record=messages if server.name == "gateway" else None)
    cpu, began_ns = cpu_seconds(server.pid), time.monotonic_ns()
    await server.publish(load.burst, messages)
    sight = await server.audience.see()
    seconds = (sight.last_ns - began_ns) / _NANOSECONDS
    return _Burst(seconds, cpu_seconds(server.pid) - cpu, rss_mib(server.pid), sight)


def _burst_row(server: _Server, load: _Load, bursts: Sequence[_Burst], rss_before_mib: float) -> Row:
    delivered = load.burst * load.watchers
    grown_kib = _KIB_A_MIB * (max(burst.rss_mib for burst in bursts) - rss_before_mib)
    return Row(
        _SCENARIO,
        f"{load.case}, burst of {load.burst:,}",
        server.name,
        per_second=[delivered / burst.seconds for burst in bursts],
        cpu_us=[_MICROSECONDS * burst.cpu_seconds / delivered for burst in bursts],
        rss_mib=[burst.rss_mib for burst in bursts],
        more={
            "messages_a_watcher": [burst.sight.messages / load.watchers for burst in bursts],
            "watchers_cpu_percent": [100 * burst.sight.cpu_seconds / burst.seconds for burst in bursts],
            # With few watchers the burst itself takes the memory.
            "kib_a_watcher": [grown_kib / load.watchers] if load.watchers >= _MANY_WATCHERS else [],
        },
    )


async def _steadily(servers: Sequence[_Server], load: _Load) -> list[Row]:
    posting_servers = [server for server in servers if server.poster is not None]
    found: list[list[Mapping[str, float]]] = [[] for _ in posting_servers]
    for _ in range(_STEADY_ROUNDS):
        for server, kept in zip(posting_servers, found, strict=True):
            kept.append(await _steady(server, load.rate, _STEADY_SECONDS, load.watchers))
    case = f"{load.case}, {load.rate:.0f}/s"
    return [_steady_row(server, case, rounds) for server, rounds in zip(posting_servers, found, strict=True)]


async def _steady(server: _Server, rate: float, seconds: float, watchers: int) -> Mapping[str, float]:
    """Post at a steady rate. Return the figures of a row."""
    count = round(rate * seconds)
    await server.audience.expect(count, is_timed=True)
    cpu = cpu_seconds(server.pid)
    if server.poster is not None:
        await server.poster.steadily(count, rate)
    sight = await server.audience.see()
    return {
        "p50_ms": sight.p50_ms,
        "p95_ms": sight.p95_ms,
        "p99_ms": sight.p99_ms,
        "cpu_us": _MICROSECONDS * (cpu_seconds(server.pid) - cpu) / (count * watchers),
    }


def _steady_row(server: _Server, case: str, rounds: Sequence[Mapping[str, float]]) -> Row:
    figures = {name: [each[name] for each in rounds] for name in rounds[0]}
    return Row(_SCENARIO, case, server.name, **figures, more={})


if __name__ == "__main__":
    run_alone(measure_fan_out)
