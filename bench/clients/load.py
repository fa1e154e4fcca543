"""The load: as many requests as the server handles, or a fixed rate.

Runs as a process of its own, ``python -m bench.clients.load``, so that it shares no interpreter with the measured
server. Reads one `Order` per line from standard input and writes one `Outcome` per line.
"""

import asyncio
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import orjson
import uvloop

from bench.clients.client import Connection, connections
from bench.clients.traffic import CallbackRequests, Kind, Notifications, Traffic
from bench.common.usage import cpu_seconds, rss_mib
from sandbox.common.pki import Identity
from sandbox.common.tls import client_context

__all__ = ["Order", "Outcome", "Schedule", "Way"]

_LATEST_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Order:
    """The load to make."""

    port: int
    """The server's port on loopback."""
    pids: Sequence[int]
    """The server's processes: its own, and that of its storage if that is a server too."""
    traffic: Kind
    connections: int
    seconds: float
    rate: float = 0.0
    """Requests per second, sent when due regardless of responses; 0 for the maximum, at which each connection sends its
    next request after the last response."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result. Every request succeeded."""

    accepted: int
    seconds: float
    server_cpu_seconds: float
    """The processor time of all the server's processes."""
    server_rss_mib: float
    """The memory of all the server's processes, at the end."""
    load_cpu_seconds: float
    latencies: list[float]
    """The time from each request to its response, in seconds, sorted; with a rate, from the due time."""


class _Saturation:
    """Every connection sends its next request after the last response."""

    def __init__(self, traffic: Traffic) -> None:
        self.latencies: list[float] = []
        self._traffic = traffic
        self._open = 0
        self._ending = False
        self._idle = asyncio.Event()

    async def run(self, through: list[Connection], seconds: float) -> None:
        self._open = len(through)
        for connection in through:
            self._send(connection)
        await asyncio.sleep(seconds)
        self._ending = True
        await self._idle.wait()

    def _send(self, connection: Connection) -> None:
        connection.on_answer = partial(self._answered, time.perf_counter())
        connection.send(self._traffic.request())

    def _answered(self, sent: float, connection: Connection) -> None:
        self.latencies.append(time.perf_counter() - sent)
        if not self._ending:
            self._send(connection)
            return
        self._open -= 1
        if not self._open:
            self._idle.set()


class Way(Protocol):
    """Takes one request at a time: a connection, or a call in flight on one."""

    on_answer: Callable[[Any], None]
    """Called with itself after a response."""

    def send(self, request: bytes) -> None:
        """Send a request."""
        ...


class Schedule:
    """Every request has a due time; while all ways are busy it waits, and its latency grows."""

    def __init__(self, traffic: Traffic, rate: float) -> None:
        """Prepare for a rate in requests per second."""
        self.latencies: list[float] = []
        """In seconds from when a request was due, in order of the responses."""
        self._traffic = traffic
        self._interval = 1 / rate
        self._free: deque[Way] = deque()
        self._due: deque[float] = deque()
        self._left = 0
        self._is_over = False
        self._finished = asyncio.Event()

    async def run(self, through: Sequence[Way], seconds: float) -> None:
        """Send each request when it is due; return after the last response."""
        self._free.extend(through)
        self._left = count = round(seconds / self._interval)
        try:
            # uvloop's timers are up to a millisecond off; a sleeping thread wakes within a tenth of that.
            await asyncio.to_thread(self._pace, asyncio.get_running_loop(), count)
            await self._finished.wait()
        finally:
            self._is_over = True

    def _pace(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        first = time.perf_counter() + self._interval
        for place in range(count):
            if self._is_over:
                return
            due = first + place * self._interval
            time.sleep(max(0.0, due - time.perf_counter()))
            loop.call_soon_threadsafe(self._take, due)

    def _take(self, due: float) -> None:
        self._due.append(due)
        self._send()

    def _send(self) -> None:
        while self._due and self._free:
            way = self._free.popleft()
            way.on_answer = partial(self._answered, self._due.popleft())
            way.send(self._traffic.request())

    def _answered(self, due: float, way: Way) -> None:
        self.latencies.append(time.perf_counter() - due)
        self._free.append(way)
        self._send()
        self._left -= 1
        if not self._left:
            self._finished.set()


async def _carry_out(order: Order, traffic: Traffic, tls: ssl.SSLContext) -> Outcome:
    async with connections(order.port, order.connections, tls) as (through, broken):
        load = Schedule(traffic, order.rate) if order.rate else _Saturation(traffic)
        server_before, load_before, began = _cpu_seconds(order.pids), time.process_time(), time.perf_counter()
        running = asyncio.create_task(load.run(through, order.seconds))
        try:
            async with asyncio.timeout(order.seconds + _LATEST_ANSWER_SECONDS):
                await asyncio.wait((running, broken), return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                broken.result()
            await running
        finally:
            running.cancel()
        return Outcome(
            accepted=len(load.latencies),
            seconds=time.perf_counter() - began,
            server_cpu_seconds=_cpu_seconds(order.pids) - server_before,
            server_rss_mib=sum(map(rss_mib, order.pids)),
            load_cpu_seconds=time.process_time() - load_before,
            latencies=sorted(load.latencies),
        )


def _cpu_seconds(pids: Sequence[int]) -> float:
    return sum(map(cpu_seconds, pids))


def _main(issuer_id: str, certificate: str, key: str, server_ca: str) -> None:
    tls = client_context(Identity(Path(certificate), Path(key)), Path(server_ca))
    traffic: dict[Kind, Traffic] = {"notifications": Notifications(issuer_id), "callbacks": CallbackRequests(issuer_id)}
    for line in sys.stdin:
        order = Order(**orjson.loads(line))
        outcome = uvloop.run(_carry_out(order, traffic[order.traffic], tls))
        sys.stdout.write(orjson.dumps(asdict(outcome)).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
