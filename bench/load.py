"""The load: as many notifications as the server takes, or a fixed number a second.

Runs as a process of its own, ``python -m bench.load``, so that it shares no interpreter with what is measured. Reads
one `Order` a line from standard input and answers each with one `Outcome` a line.
"""

import asyncio
import ssl
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import orjson
import uvloop

from bench.client import Connection, connections
from bench.cpu import cpu_seconds
from bench.traffic import Traffic
from sandbox.pki import Identity
from sandbox.tls import client_context

__all__ = ["Order", "Outcome"]

_LATEST_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Order:
    """What load to make."""

    port: int
    """Where the server listens on loopback."""
    pid: int
    """The server's process."""
    connections: int
    seconds: float
    rate: float = 0.0
    """Requests a second, sent when they are due whatever the server does; 0 for as many as it takes, each connection
    sending its next one when the last is answered."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. Every request was answered with 204."""

    accepted: int
    seconds: float
    server_cpu_seconds: float
    load_cpu_seconds: float
    latencies: list[float]
    """With a rate: from when each request was due to its answer, in seconds, sorted."""


class _Saturation:
    """Every connection sends its next request as soon as the last one is answered."""

    def __init__(self, traffic: Traffic) -> None:
        self.accepted = 0
        self._traffic = traffic
        self._open = 0
        self._ending = False
        self._idle = asyncio.Event()

    async def run(self, through: list[Connection], seconds: float) -> None:
        self._open = len(through)
        for connection in through:
            connection.on_answer = self._answered
            connection.send(self._traffic.request())
        await asyncio.sleep(seconds)
        self._ending = True
        await self._idle.wait()

    def _answered(self, connection: Connection) -> None:
        self.accepted += 1
        if not self._ending:
            connection.send(self._traffic.request())
            return
        self._open -= 1
        if not self._open:
            self._idle.set()


class _Schedule:
    """Every request is due at its time; one that finds no connection free waits, and its latency grows."""

    def __init__(self, traffic: Traffic, rate: float) -> None:
        self.latencies: list[float] = []
        self._traffic = traffic
        self._interval = 1 / rate
        self._free: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._left = 0
        self._finished = asyncio.Event()

    async def run(self, through: list[Connection], seconds: float) -> None:
        self._free.extend(through)
        self._left = count = round(seconds / self._interval)
        # Not the loop's own clock, which uvloop reads once a turn.
        first = time.perf_counter() + self._interval
        for place in range(count):
            due = first + place * self._interval
            await asyncio.sleep(due - time.perf_counter())
            self._due.append(due)
            self._send()
        await self._finished.wait()

    def _send(self) -> None:
        while self._due and self._free:
            connection = self._free.popleft()
            connection.on_answer = partial(self._answered, self._due.popleft())
            connection.send(self._traffic.request())

    def _answered(self, due: float, connection: Connection) -> None:
        self.latencies.append(time.perf_counter() - due)
        self._free.append(connection)
        self._send()
        self._left -= 1
        if not self._left:
            self._finished.set()


async def _carry_out(order: Order, traffic: Traffic, tls: ssl.SSLContext) -> Outcome:
    async with connections(order.port, order.connections, tls) as (through, broken):
        load = _Schedule(traffic, order.rate) if order.rate else _Saturation(traffic)
        server_before, load_before, began = cpu_seconds(order.pid), time.process_time(), time.perf_counter()
        running = asyncio.create_task(load.run(through, order.seconds))
        try:
            async with asyncio.timeout(order.seconds + _LATEST_ANSWER_SECONDS):
                await asyncio.wait((running, broken), return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                broken.result()
            await running
        finally:
            running.cancel()
        latencies = sorted(load.latencies) if isinstance(load, _Schedule) else []
        return Outcome(
            accepted=len(latencies) if isinstance(load, _Schedule) else load.accepted,
            seconds=time.perf_counter() - began,
            server_cpu_seconds=cpu_seconds(order.pid) - server_before,
            load_cpu_seconds=time.process_time() - load_before,
            latencies=latencies,
        )


def _main(issuer_id: str, certificate: str, key: str, server_ca: str) -> None:
    tls = client_context(Identity(Path(certificate), Path(key)), Path(server_ca))
    traffic = Traffic(issuer_id)
    for line in sys.stdin:
        outcome = uvloop.run(_carry_out(Order(**orjson.loads(line)), traffic, tls))
        sys.stdout.write(orjson.dumps(asdict(outcome)).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
