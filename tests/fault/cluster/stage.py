"""Two gateways that share a cluster of three NATS servers, each in its own process."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

import aiohttp

from sandbox import Sandbox
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage
from sandbox.nats import NatsCluster, NatsServer
from tests.contract.card_rpcs import prepare

__all__ = ["Stage", "staged"]

_GATEWAYS = 2
_SECONDS = 10.0
_POLL_SECONDS = 0.05
_PORTS = range(14_000, 20_000)
"""Below the ephemeral port range: a gateway that is down for a while finds its port free."""
_PREFIX = "faults"


@dataclass(frozen=True, slots=True)
class _Place:
    config: GatewayConfig
    folder: Path


class Stage:
    """The cluster, the gateways, and the sandbox around them."""

    def __init__(self, sandbox: Sandbox, nats: NatsCluster, places: Sequence[_Place]) -> None:
        """Use `staged`."""
        self.sandbox = sandbox
        """D1 for the gateways' own calls, and the keys."""
        self.nats = nats
        self._places = places
        self._gateways: dict[int, GatewayProcess] = {}
        self._down: set[int] = set()
        self._errors = frozenset[str]()

    @property
    def grpc(self) -> Sequence[str]:
        """The gRPC addresses, constant across restarts."""
        return [f"127.0.0.1:{place.config.grpc_port}" for place in self._places]

    @property
    def edges(self) -> Sequence[str]:
        """The edges' URLs, constant across restarts."""
        return [f"https://127.0.0.1:{place.config.edge_port}" for place in self._places]

    async def leader(self) -> NatsServer:
        """Return the leader of the event log's stream, as soon as there is one."""
        async with asyncio.timeout(_SECONDS):
            while (leader := await self.nats.leader(f"{_PREFIX}-events")) is None:  # noqa: ASYNC110 (polled: NATS sends no event)
                await asyncio.sleep(_POLL_SECONDS)
        return leader

    async def kill(self, number: int) -> None:
        """Kill a gateway (SIGKILL)."""
        self._down.add(number)
        await self._gateways[number].kill()

    async def end(self, number: int) -> int:
        """Drain and stop a gateway (SIGTERM); return its exit status."""
        self._down.add(number)
        return await self._gateways[number].stop()

    async def start(self, number: int) -> None:
        """Start a gateway, at its former place if it had one, and wait until it serves."""
        place = self._places[number]
        if number in self._gateways:
            # The log file starts afresh.
            self._errors |= self._errors_of(number)
        self._gateways[number] = await GatewayProcess.start(place.config, place.folder)
        self._down.discard(number)

    async def heal(self) -> None:
        """Restart what a failed test left down."""
        await asyncio.gather(*(server.restart() for server in self.nats.servers if not server.pid))
        for number in tuple(self._down):
            await self.start(number)

    async def is_ready(self, number: int) -> bool:
        """Return whether a gateway is ready."""
        status, _ = await self._ask(number, "/readyz")
        return status == HTTPStatus.OK

    async def has_handlers(self, number: int, kind: str) -> bool:
        """Return whether a gateway has its own handlers of a kind of callback."""
        _, metrics = await self._ask(number, "/metrics")
        return f'd1_gateway_handlers_connected{{kind="{kind}"}} 1.0' in metrics

    async def close(self) -> None:
        """Stop the gateways. Tests of the drain have already checked it."""
        for gateway in self._gateways.values():
            await gateway.kill()

    def errors(self) -> frozenset[str]:
        """Return the errors in all logs of the gateways: there should be none, whatever fails around them."""
        return self._errors.union(*(self._errors_of(number) for number in self._gateways))

    def _errors_of(self, number: int) -> frozenset[str]:
        log = self._gateways[number].log.read_text()
        return frozenset(f"gateway {number}: {line}" for line in log.splitlines() if '"level":"error"' in line)

    async def _ask(self, number: int, path: str) -> tuple[int, str]:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{self._gateways[number].admin}{path}") as response,
        ):
            return response.status, await response.text()


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    """Run everything for the duration of the block."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start(folder / "keys"))
        prepare(sandbox.store)
        nats = await stack.enter_async_context(await NatsCluster.start(folder / "nats"))
        storage = SharedStorage.make(nats.urls, folder, replicas=3)
        places = []
        for number in range(_GATEWAYS):
            place = folder / f"gateway-{number}"
            place.mkdir()
            config = replace(
                GatewayConfig.of(sandbox, place, shared=storage),
                grpc_port=_free_port(),
                edge_port=_free_port(),
                more={"nats": {"prefix": _PREFIX}},
            )
            places.append(_Place(config, place))
        stage = Stage(sandbox, nats, places)
        stack.push_async_callback(stage.close)
        # At the same time: one of them creates the stream, the other finds it.
        async with asyncio.TaskGroup() as starting:
            for number in range(_GATEWAYS):
                starting.create_task(stage.start(number))
        yield stage


def _free_port() -> int:
    while True:
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
