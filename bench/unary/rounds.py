"""Loads the servers in turns, and makes rows of the results."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.common.results import Row
from bench.common.usage import cpu_seconds, rss_mib
from bench.unary.calls import Call
from bench.unary.h2load import Answered, H2Load, Shape
from bench.unary.servers import Server, Stage

__all__ = ["Case", "Turns"]

_MICROSECONDS: Final = 1e6
_MILLISECONDS: Final = 1e3
_LOOK_SECONDS: Final = 0.01
_MARGIN: Final = 1
"""The requests per request in flight made before the measured part, while connections are opened, and after it, while
they go idle one by one."""
_TRIAL: Final = 4
"""The requests per request in flight that estimate a server's rate, and so the size of a round."""
_SHORTEST_TRIAL: Final = 200
_MOST_TRIES: Final = 4


@dataclass(frozen=True, slots=True)
class Case:
    """A load, and the number of its rounds."""

    call: Call
    shape: Shape
    rounds: int
    seconds: float
    """The duration of a round once all connections are open."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """A reading of time and counts."""

    time: float
    count: int
    cpu_seconds: float
    upstream_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class _Round:
    """The figures of one server in one round."""

    begin: _Reading
    end: _Reading
    latencies: Sequence[float]
    """Latencies of the requests that began in between, in seconds, sorted."""
    rss_mib: float

    @property
    def requests(self) -> int:
        return self.end.count - self.begin.count

    @property
    def per_second(self) -> float:
        return self.requests / (self.end.time - self.begin.time)

    @property
    def cpu_us(self) -> float:
        return _MICROSECONDS * (self.end.cpu_seconds - self.begin.cpu_seconds) / self.requests

    @property
    def upstream_cpu_us(self) -> float:
        return _MICROSECONDS * (self.end.upstream_cpu_seconds - self.begin.upstream_cpu_seconds) / self.requests

    def percentile_ms(self, percent: int) -> float:
        """Return a percentile of the latencies (nearest rank)."""
        rank = -(-percent * len(self.latencies) // 100)
        return _MILLISECONDS * self.latencies[max(rank, 1) - 1]


@dataclass(frozen=True, slots=True)
class Turns:
    """Loads the servers of a stage in turns: other activity on the machine affects each of a round alike."""

    stage: Stage
    load: H2Load

    async def warm_up(self, case: Case) -> None:
        """Run each server for the time of a round, so that just-in-time compilers have done their work.

        Raises:
            RuntimeError: A request failed.
        """
        for server in self.stage.servers:
            await self._round(server, case, await self._requests(server, case))

    async def measure(self, scenario: str, case: Case) -> list[Row]:
        """Load each server, once as a trial and then round by round. Return a row for each server.

        Raises:
            RuntimeError: A request failed, or the upstream was the bottleneck.
        """
        requests = {server: await self._requests(server, case) for server in self.stage.servers}
        rounds: dict[Server, list[_Round]] = {server: [] for server in requests}
        for _ in range(case.rounds):
            for server, kept in rounds.items():
                kept.append(await self._round(server, case, requests[server]))
        name = f"{case.call.name}, {case.shape.in_flight} in flight, {self.stage.transport}"
        return [_row(scenario, name, server, of) for server, of in rounds.items()]

    async def _requests(self, server: Server, case: Case) -> int:
        """Return the number of requests that a server needs for a round."""
        trial = await self._round(server, case, max(_SHORTEST_TRIAL, _TRIAL * case.shape.in_flight))
        return 2 * _MARGIN * case.shape.in_flight + math.ceil(trial.per_second * case.seconds)

    async def _round(self, server: Server, case: Case, requests: int) -> _Round:
        """Load a server, and again where a busy machine delayed the readings beyond the measured part."""
        margin = _MARGIN * case.shape.in_flight
        for _ in range(_MOST_TRIES):
            await server.call(case.call)
            begin, end, answered = await self._watch(server, case, requests, margin)
            latencies = sorted(one.ended - one.began for one in answered if begin.time <= one.began < end.time)
            if latencies and 2 * (end.count - begin.count) > requests - 2 * margin:
                return _Round(begin, end, latencies, rss_mib(server.pid))
        raise RuntimeError(f"{server.name}: the machine is too busy for a measurement.")

    async def _watch(
        self, server: Server, case: Case, requests: int, margin: int
    ) -> tuple[_Reading, _Reading, Sequence[Answered]]:
        before = await server.counter.count()
        loading = asyncio.create_task(self._load(server, case, requests))
        try:
            begin = await self._reach(server, before + margin, loading)
            end = await self._reach(server, before + requests - margin, loading)
            answered = await loading
        finally:
            loading.cancel()
            await asyncio.wait([loading])
        carried_out = await server.counter.count() - before
        if carried_out != requests:
            raise RuntimeError(f"{server.name} responded to {requests}, but processed {carried_out}.")
        return begin, end, answered

    def _load(self, server: Server, case: Case, requests: int) -> Coroutine[Any, Any, Sequence[Answered]]:
        return self.load.run(
            f"{self.stage.scheme}://{server.address}{server.path(case.call)}",
            case.shape,
            requests,
            headers=server.headers,
            body=server.body(case.call),
            http1=not server.speaks_grpc,
        )

    async def _reach(self, server: Server, count: int, loading: "asyncio.Task[Sequence[Answered]]") -> _Reading:
        """Wait until the server has processed a number of requests, or the load ends."""
        # Polled: an event for each request would be extra work for the server.
        while (reading := await self._read(server)).count < count and not loading.done():  # noqa: ASYNC110  a process has no event for it
            await asyncio.sleep(_LOOK_SECONDS)
        return reading

    async def _read(self, server: Server) -> _Reading:
        count = await server.counter.count()
        return _Reading(time.time(), count, cpu_seconds(server.pid), cpu_seconds(self.stage.upstream.pid))


def _row(scenario: str, name: str, server: Server, rounds: Sequence[_Round]) -> Row:
    def each(value: Callable[[_Round], float]) -> list[float]:
        return [value(one) for one in rounds]

    cpu_us, upstream_cpu_us = each(lambda one: one.cpu_us), each(lambda one: one.upstream_cpu_us)
    if sum(upstream_cpu_us) >= sum(cpu_us):
        raise RuntimeError(f"{name}: the upstream uses more processor time than {server.name}.")
    return Row(
        scenario,
        name,
        server.name,
        per_second=each(lambda one: one.per_second),
        p50_ms=each(lambda one: one.percentile_ms(50)),
        p95_ms=each(lambda one: one.percentile_ms(95)),
        p99_ms=each(lambda one: one.percentile_ms(99)),
        cpu_us=cpu_us,
        rss_mib=each(lambda one: one.rss_mib),
        more={"upstream_cpu_us": upstream_cpu_us},
    )
