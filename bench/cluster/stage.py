"""The gateways that are measured, each in a process of its own, and where they keep what they keep."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from bench.common.processes import Server
from bench.common.usage import cpu_seconds, rss_mib
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage
from sandbox.nats import NatsCluster, NatsServer

__all__ = ["Site", "Stage", "Storage", "started"]


@dataclass(frozen=True, slots=True)
class Storage:
    """NATS servers."""

    servers: Sequence[NatsServer]
    shared: SharedStorage


@dataclass(frozen=True, slots=True)
class Site:
    """Gateways that work together, or one that is alone."""

    name: str
    gateways: Sequence[GatewayProcess]
    nats_pids: Sequence[int]
    """Empty for one that is alone."""
    stores: Sequence[Path]
    """Where what was notified is kept."""

    @property
    def pids(self) -> Sequence[int]:
        """The processes of the gateways."""
        return [gateway.pid for gateway in self.gateways]

    @property
    def server(self) -> Server:
        """The edge of the first gateway, with the processes of all of them."""
        return Server(self.name, int(self.gateways[0].edge.rpartition(":")[2]), tuple(self.pids))

    def cpu_seconds(self) -> float:
        """Tell how long the gateways have been on a processor."""
        return sum(map(cpu_seconds, self.pids))

    def nats_cpu_seconds(self) -> float:
        """Tell how long the NATS servers have been on a processor."""
        return sum(map(cpu_seconds, self.nats_pids))

    def rss_mib(self) -> float:
        """Tell how much memory of the gateways is resident."""
        return sum(map(rss_mib, self.pids))

    def nats_rss_mib(self) -> float:
        """Tell how much memory of the NATS servers is resident."""
        return sum(map(rss_mib, self.nats_pids))

    def stored_bytes(self) -> int:
        """Tell how large the files are in which notifications are kept."""
        return sum(map(_size, self.stores))


class Stage:
    """Starts gateways and NATS servers."""

    def __init__(self, config: GatewayConfig, folder: Path, running: AsyncExitStack) -> None:
        """Use `open`."""
        self._config = config
        self._folder = folder
        self._running = running

    @classmethod
    @asynccontextmanager
    async def open(cls, config: GatewayConfig, folder: Path) -> AsyncIterator[Self]:
        """Have what is started for as long as the block lasts.

        Args:
            config: The settings of every gateway, but for where it keeps things.
            folder: Where everything goes; made if missing.
        """
        async with AsyncExitStack() as running:
            yield cls(config, folder, running)

    async def one_server(self, name: str, *, syncs_always: bool = False) -> Storage:
        """Start a NATS server.

        Args:
            name: Of its folder.
            syncs_always: Whether it syncs what it keeps before it acknowledges, rather than every two minutes.

        Raises:
            RuntimeError: It did not become ready.
        """
        folder = self._folder / name
        settings = f'jetstream {{ store_dir: "{folder}", sync_interval: always }}' if syncs_always else ""
        starting = NatsServer.start(folder, jetstream=not syncs_always, settings=settings)
        server = await self._running.enter_async_context(await starting)
        return Storage([server], SharedStorage.make([server.url], folder))

    async def three_servers(self, name: str) -> Storage:
        """Start a cluster whose servers sync what they keep before they acknowledge.

        Args:
            name: Of its folder.

        Raises:
            RuntimeError: They did not become one.
        """
        folder = self._folder / name
        cluster = await self._running.enter_async_context(await NatsCluster.start(folder, syncs_always=True))
        return Storage(cluster.servers, SharedStorage.make(cluster.urls, folder, replicas=3))

    async def alone(self) -> Site:
        """Start a gateway with its own log.

        Raises:
            RuntimeError: It did not become ready.
        """
        folder = self._folder / "gateway"
        store = folder / "log"
        store.mkdir(parents=True)
        served = await self._serve(replace(self._config, event_log=store / "d1-gateway.db"), folder)
        return Site("gateway", [served], [], [store])

    async def sharing(self, name: str, storage: Storage, *, gateways: int = 1) -> Site:
        """Start gateways that share NATS servers, with each other and with all that were started on them before.

        Args:
            name: What they are called.
            storage: The servers.
            gateways: How many, each with its own ports.

        Raises:
            ExceptionGroup: One did not become ready.
        """
        config = replace(self._config, shared=storage.shared)
        folders = [self._folder / f"{name} {number}" for number in range(gateways)]
        for folder in folders:
            folder.mkdir(parents=True)
        async with asyncio.TaskGroup() as tasks:
            starting = [tasks.create_task(self._serve(config, folder)) for folder in folders]
        served = [each.result() for each in starting]
        pids = [server.pid for server in storage.servers]
        return Site(name, served, pids, [server.folder for server in storage.servers])

    async def _serve(self, config: GatewayConfig, folder: Path) -> GatewayProcess:
        return await self._running.enter_async_context(await GatewayProcess.start(config, folder))


async def started(*sites: Coroutine[Any, Any, Site]) -> list[Site]:
    """Start sites at the same time.

    Raises:
        ExceptionGroup: One did not become ready; those that still were about to have been ended.
    """
    async with asyncio.TaskGroup() as tasks:
        starting = [tasks.create_task(each) for each in sites]
    return [each.result() for each in starting]


def _size(folder: Path) -> int:
    size = 0
    for file in folder.rglob("*"):
        # Servers replace and remove files while they are looked at.
        try:
            size += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return size
