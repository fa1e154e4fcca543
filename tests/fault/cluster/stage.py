"""Two gateways that share a cluster of three NATS servers, each in its own process."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp

from sandbox import Sandbox
from sandbox.nats import NatsCluster, NatsServer
from tests.fault.processes import Processes, processes
from tests.integration.nats.nats_storages import leader_of

__all__ = ["NATS_TIMEOUT_SECONDS", "Stage", "staged"]

NATS_TIMEOUT_SECONDS = 1.5
"""The gateways' time limit for a response of NATS."""
_GATEWAYS = 2
_SECONDS = 30.0
_PREFIX = "faults"


class Stage:
    """The cluster, the gateways, and the sandbox around them."""

    def __init__(self, gateways: Processes, nats: NatsCluster) -> None:
        """Use `staged`."""
        self.gateways = gateways
        self.nats = nats
        self._errors = frozenset[str]()

    @property
    def sandbox(self) -> Sandbox:
        """D1 for the gateways' own calls, and the keys."""
        return self.gateways.sandbox

    @property
    def grpc(self) -> Sequence[str]:
        """The gRPC addresses, constant across restarts."""
        return [gateway.grpc for gateway in self.gateways.gateways]

    @property
    def edges(self) -> Sequence[str]:
        """The edges' URLs, constant across restarts."""
        return [gateway.edge for gateway in self.gateways.gateways]

    async def leader(self) -> NatsServer:
        """Return the leader of the event log's stream, as soon as there is one."""
        return await leader_of(self.nats, f"{_PREFIX}-events")

    async def start(self, number: int) -> None:
        """Start a gateway again, and wait until it serves."""
        # Its log file starts afresh.
        self._errors |= self._errors_of(number)
        await self.gateways.start(number)

    async def heal(self) -> None:
        """Restart what a failed test left down."""
        await asyncio.gather(*(server.restart() for server in self.nats.servers if not server.pid))
        await self.gateways.heal()

    async def is_ready(self, number: int) -> bool:
        """Return whether a gateway is ready."""
        status, _ = await self._ask(number, "/readyz")
        return status == HTTPStatus.OK

    async def has_handlers(self, number: int, kind: str) -> bool:
        """Return whether a gateway has its own handlers of a kind of callback."""
        _, metrics = await self._ask(number, "/metrics")
        return f'd1_gateway_handlers_connected{{kind="{kind}"}} 1.0' in metrics

    def errors(self) -> frozenset[str]:
        """Return the errors in all logs of the gateways: there should be none, whatever fails around them."""
        return self._errors.union(*(self._errors_of(number) for number in range(_GATEWAYS)))

    def _errors_of(self, number: int) -> frozenset[str]:
        log = self.gateways.gateways[number].log.read_text()
        return frozenset(f"gateway {number}: {line}" for line in log.splitlines() if '"level":"error"' in line)

    async def _ask(self, number: int, path: str) -> tuple[int, str]:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{self.gateways.gateways[number].admin}{path}") as response,
        ):
            return response.status, await response.text()


@asynccontextmanager
async def staged(folder: Path, packages: Sequence[Path] = ()) -> AsyncIterator[Stage]:
    """Run everything for the duration of the block, the gateways from another release's packages if they are given."""
    more = {"nats": {"prefix": _PREFIX, "request_timeout_seconds": NATS_TIMEOUT_SECONDS}}
    async with (
        await NatsCluster.start(folder / "nats") as nats,
        processes(folder, _GATEWAYS, nats.urls, replicas=3, more=more, packages=packages) as gateways,
    ):
        yield Stage(gateways, nats)
