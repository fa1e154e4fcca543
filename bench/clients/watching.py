"""The watchers: many streams of notifications, received and counted.

Runs as a process of its own, ``python -m bench.clients.watching CERTIFICATE KEY SERVER_CA``, so that it shares no
interpreter with the measured server. Reads orders from standard input, each a line with its kind and fields, and
writes one line for each; see `bench.clients.audience`.
"""

import asyncio
import re
import ssl
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop

from bench.clients.http2 import streams
from sandbox.common.pki import Identity
from sandbox.common.tls import client_context

__all__ = ["MARK", "WATCH", "Expectation", "Opening", "Sight", "percentile_ms"]

MARK: Final = b"bench-posted-at-monotonic-ns-"
"""The prefix of each notification's correlation id; 19 digits follow. Long prefixes are found faster."""
WATCH: Final = "/issuer.notification.v1.NotificationService/WatchNotifications"

_DONE = -1
_MILLISECOND_NS = 1e6
_TIME = re.compile(MARK + rb"([0-9]{19})")


@dataclass(frozen=True, slots=True)
class Opening:
    """An order: open streams. The result is the time just before they are opened."""

    address: str
    request: str
    """The serialised request, in hexadecimal."""
    watchers: int
    connections: int
    reads: bool = True
    """Whether the watchers keep reading; if not, they take 64 KiB each and then stall."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """An order: start counting, before the streams open or while nothing arrives. Completes at once."""

    watchers: int
    notifications: int
    """The number of notifications per watcher; 0 for one message each, even an empty one."""
    is_timed: bool = False
    """Whether to read the time in each notification, which has a cost."""
    record: str = ""
    """A file for the first watcher's messages, each with a 4-byte length prefix."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The notifications received. Times are of `time.monotonic_ns`."""

    first_ns: int
    """When the first watcher got its first notification."""
    last_ns: int
    """When the last watcher got its last one."""
    messages: int
    cpu_seconds: float
    """The watchers' own processor time."""
    latencies_ns: Sequence[int] = ()
    """From post to watcher, over all watchers and notifications, sorted; empty unless timed."""

    @property
    def p50_ms(self) -> float:
        """The median latency."""
        return percentile_ms(self.latencies_ns, 50)

    @property
    def p95_ms(self) -> float:
        """The 95th percentile."""
        return percentile_ms(self.latencies_ns, 95)

    @property
    def p99_ms(self) -> float:
        """The 99th percentile."""
        return percentile_ms(self.latencies_ns, 99)


def percentile_ms(latencies_ns: Sequence[int], percent: int) -> float:
    """Return a percentile of latencies (nearest rank), in milliseconds.

    Args:
        latencies_ns: At least one, sorted.
        percent: 1 to 100.
    """
    return latencies_ns[-(-percent * len(latencies_ns) // 100) - 1] / _MILLISECOND_NS


class _Watchers:
    """All streams of the process, and the notifications received."""

    def __init__(self) -> None:
        self._expected = Expectation(0, 0)
        self._left: list[int] = []
        self._watchers_left = 0
        self._done = asyncio.Event()
        self._first_ns = self._last_ns = self._messages = 0
        self._began = 0.0
        self._latencies: list[int] = []
        self._recorded: list[bytes] = []

    def expect(self, expected: Expectation) -> None:
        self._expected = expected
        self._left = [expected.notifications] * expected.watchers
        self._watchers_left = expected.watchers
        self._first_ns = self._last_ns = self._messages = 0
        self._began = time.process_time()
        self._latencies, self._recorded = [], []
        self._done.clear()

    def receive(self, number: int, message: bytes) -> None:
        count = message.count(MARK)
        if not count and self._expected.notifications:
            return
        now = time.monotonic_ns()
        self._first_ns = self._first_ns or now
        self._messages += 1
        if self._expected.is_timed:
            self._latencies += [now - int(posted) for posted in _TIME.findall(message)]
        if self._expected.record and number == 0:
            self._recorded.append(message)
        left = self._left[number]
        self._left[number] = left - count if left > count else _DONE
        if left != _DONE and left <= count:
            self._watchers_left -= 1
            if not self._watchers_left:
                self._last_ns = now
                self._done.set()

    async def sight(self) -> Sight:
        await self._done.wait()
        self._write()
        return Sight(
            self._first_ns,
            self._last_ns,
            self._messages,
            time.process_time() - self._began,
            sorted(self._latencies),
        )

    def _write(self) -> None:
        if self._expected.record:
            framed = b"".join(len(message).to_bytes(4) + message for message in self._recorded)
            Path(self._expected.record).write_bytes(framed)


class _Orders:
    """Executes the orders one by one."""

    def __init__(self, tls: ssl.SSLContext, stack: AsyncExitStack) -> None:
        self._tls = tls
        self._stack = stack
        self._watchers = _Watchers()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def carry_out(self, kind: str, order: Mapping[str, Any]) -> object:
        match kind:
            case "expect":
                self._watchers.expect(Expectation(**order))
            case "open":
                return await self._open(Opening(**order))
            case "see":
                return await self._see()
            case _:
                await self._stack.aclose()
        return None

    async def _open(self, opening: Opening) -> int:
        opened = streams(
            opening.address,
            self._tls,
            path=WATCH,
            request=bytes.fromhex(opening.request),
            count=opening.watchers,
            connections=opening.connections,
            message=self._watchers.receive,
            reads=opening.reads,
        )
        began_ns, self._broken = await self._stack.enter_async_context(opened)
        return began_ns

    async def _see(self) -> Sight:
        seeing = asyncio.create_task(self._watchers.sight())
        try:
            await asyncio.wait((seeing, self._broken), return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                self._broken.result()
            return await seeing
        finally:
            seeing.cancel()


async def _obey(certificate: str, key: str, server_ca: str) -> None:
    tls = client_context(Identity(Path(certificate), Path(key)), Path(server_ca))
    async with AsyncExitStack() as stack:
        orders = _Orders(tls, stack)
        while line := await asyncio.to_thread(sys.stdin.readline):
            answer = await orders.carry_out(*orjson.loads(line))
            sys.stdout.write(orjson.dumps(answer).decode() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_obey(*sys.argv[1:]))
