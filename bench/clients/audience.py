"""The controller of the watchers' process, see `bench.clients.watching`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson
from google.protobuf import duration_pb2

from bench.clients.watching import Expectation, Opening, Sight
from bench.common.processes import line, python
from issuer.notification.v1 import messages_pb2 as notification
from sandbox.common.pki import Pki

__all__ = ["Audience", "audience"]

_MOST_CONNECTIONS: Final = 100
_LATEST: Final = notification.WatchNotificationsRequest(position=notification.START_POSITION_LATEST)
_LATEST_SECONDS: Final = 120.0
_QUIET_SECONDS: Final = 120


class Audience:
    """Watchers of one server at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Wrap a running process; `audience` starts one."""
        self._process = process
        self._watchers = 0

    async def open(self, address: str, watchers: int, *, reads: bool = True) -> None:
        """Connect watchers, each of all new notifications, on up to 100 connections."""
        await self.expect(0, watchers=watchers)
        await self.ask(address, _LATEST, reads=reads)
        await self.see()

    async def expect(
        self, notifications: int, *, watchers: int = 0, is_timed: bool = False, record: Path | None = None
    ) -> None:
        """Start counting; see `Expectation`. The number of watchers stays unless given."""
        self._watchers = watchers or self._watchers
        await self._order("expect", Expectation(self._watchers, notifications, is_timed, str(record or "")))

    async def ask(self, address: str, request: notification.WatchNotificationsRequest, *, reads: bool = True) -> int:
        """Open a stream for each watcher. Return the time of the request, by `time.monotonic_ns`."""
        asked = notification.WatchNotificationsRequest(heartbeat_interval=duration_pb2.Duration(seconds=_QUIET_SECONDS))
        asked.MergeFrom(request)
        wanted = asked.SerializeToString().hex()
        connections = min(self._watchers, _MOST_CONNECTIONS)
        return int(await self._order("open", Opening(address, wanted, self._watchers, connections, reads)))

    async def see(self, seconds: float = _LATEST_SECONDS) -> Sight:
        """Wait until every watcher has what is expected.

        Raises:
            RuntimeError: A stream ended; standard error has the reason.
            TimeoutError: The time limit is exceeded.
        """
        return Sight(**await self._order("see", seconds=seconds))

    async def close(self) -> None:
        """Disconnect from the server."""
        await self._order("close")

    async def _order(self, kind: str, order: Opening | Expectation | None = None, seconds: float = 30.0) -> Any:
        if self._process.stdin is None:
            raise RuntimeError("The watchers' process has no standard input.")
        fields = {} if order is None else asdict(order)
        self._process.stdin.write(orjson.dumps([kind, fields]) + b"\n")
        return orjson.loads(await line(self._process, seconds))


@asynccontextmanager
async def audience(pki: Pki) -> AsyncIterator[Audience]:
    """Run a process of watchers for the duration of the block."""
    async with python("bench.clients.watching", pki.caller.certificate, pki.caller.key, pki.server_ca) as process:
        yield Audience(process)
