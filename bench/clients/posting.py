"""Posts notifications at the edge as D1 does, each with the time when it was written."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from bench.clients.client import Connection, connections
from bench.clients.traffic import Notifications
from bench.clients.watching import MARK
from sandbox.common.pki import Pki
from sandbox.common.tls import client_context
from sandbox.sandbox import ISSUER_ID

__all__ = ["Poster", "posting"]

_BEFORE_TIME: Final = b"x-correlation-id: "
_AFTER_TIME: Final = b"\r\n"


class Poster:
    """Posts over persistent connections."""

    def __init__(self, through: list[Connection], broken: "asyncio.Future[None]") -> None:
        """Wrap connections; `posting` opens them."""
        self._free = through
        self._broken = broken
        self._traffic = Notifications(ISSUER_ID)
        self._left = 0
        self._unanswered = 0
        self._answered = asyncio.Event()
        for connection in through:
            connection.on_answer = self._take_back

    async def burst(self, count: int) -> float:
        """Post at the maximum rate. Return the seconds until the last response."""
        began = time.perf_counter()
        self._left = self._unanswered = count
        self._answered.clear()
        self._send()
        await self._all_answered()
        return time.perf_counter() - began

    async def steadily(self, count: int, per_second: float) -> None:
        """Post each notification when it is due, or as soon after that as a connection is free."""
        self._left, self._unanswered = 0, count
        self._answered.clear()
        clock = asyncio.get_running_loop().time
        began = clock()
        for place in range(count):
            await asyncio.sleep(began + place / per_second - clock())
            self._left += 1
            self._send()
        await self._all_answered()

    def _send(self) -> None:
        while self._left and self._free:
            self._left -= 1
            self._free.pop().send(_timed(self._traffic.request()))

    def _take_back(self, connection: Connection) -> None:
        self._free.append(connection)
        self._unanswered -= 1
        self._send()
        if not self._unanswered:
            self._answered.set()

    async def _all_answered(self) -> None:
        waiting = asyncio.create_task(self._answered.wait())
        try:
            await asyncio.wait((waiting, self._broken), return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                self._broken.result()
        finally:
            waiting.cancel()


def _timed(request: bytes) -> bytes:
    before, name, after = request.partition(_BEFORE_TIME)
    return b"".join((before, name, MARK, b"%019d" % time.monotonic_ns(), after[after.index(_AFTER_TIME) :]))


@asynccontextmanager
async def posting(edge: str, pki: Pki, count: int) -> AsyncIterator[Poster]:
    """Open connections to an edge for the duration of the block."""
    tls: ssl.SSLContext = client_context(pki.d1_client, pki.server_ca)
    async with connections(int(edge.rpartition(":")[2]), count, tls) as (through, broken):
        yield Poster(through, broken)
