"""The measured gateways, each in its own process, and their storage."""

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
    """A cluster of gateways, or a single one."""

    name: str
    gateways: Sequence[GatewayProcess]
    nats_pids: Sequence[int]
    """Empty for a single gateway."""
    stores: Sequence[Path]
    """The folders of stored notifications."""

    @property
    def pids(self) -> Sequence[int]:
        """The gateways' processes."""
        return [gateway.pid for gateway in self.gateways]

    @property
    def server(self) -> Server:
        """The edge of the first gateway, with the processes of all gateways."""
        return Server(self.name, int(self.gateways[0].edge.rpartition(":")[2]), tuple(self.pids))

    def cpu_seconds(self) -> float:
        """Return the gateways' processor time."""
        return sum(map(cpu_seconds, self.pids))

    def nats_cpu_seconds(self) -> float:
        """Return the NATS servers' processor time."""
        return sum(map(cpu_seconds, self.nats_pids))

    def rss_mib(self) -> float:
        """Return the gateways' resident memory."""
        return sum(map(rss_mib, self.pids))

    def nats_rss_mib(self) -> float:
        """Return the NATS servers' resident memory."""
        return sum(map(rss_mib, self.nats_pids))

    def stored_bytes(self) -> int:
        """Return the size of the files of stored notifications."""
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
        """Run all processes for the duration of the block.

        Args:
            config: The settings of every gateway, except its storage.
            folder: The folder for everything, created if missing.
        """
        async with AsyncExitStack() as running:
            yield cls(config, folder, running)

    async def one_server(self, name: str, *, syncs_always: bool = False) -> Storage:
        """Start a NATS server.

        Args:
            name: The name of its folder.
            syncs_always: Whether it syncs to disk before it acknowledges, rather than every two minutes.

        Raises:
            RuntimeError: It did not become ready.
        """
        folder = self._folder / name
        settings = f'jetstream {{ store_dir: "{folder}", sync_interval: always }}' if syncs_always else ""
        starting = NatsServer.start(folder, jetstream=not syncs_always, settings=settings)
        server = await self._running.enter_async_context(await starting)
        return Storage([server], SharedStorage.make([server.url], folder))

    async def three_servers(self, name: str) -> Storage:
        """Start a cluster whose servers sync to disk before they acknowledge.

        Args:
            name: The name of its folder.

        Raises:
            RuntimeError: They did not form a cluster.
        """
        folder = self._folder / name
        cluster = await self._running.enter_async_context(await NatsCluster.start(folder, syncs_always=True))
        return Storage(cluster.servers, SharedStorage.make(cluster.urls, folder, replicas=3))

    async def alone(self) -> Site:
        """Start a gateway with its own event log.

        Raises:
            RuntimeError: It did not become ready.
        """
        folder = self._folder / "gateway"
        store = folder / "log"
        store.mkdir(parents=True)
        served = await self._serve(replace(self._config, event_log=store / "d1-gateway.db"), folder)
        return Site("gateway", [served], [], [store])

    async def sharing(self, name: str, storage: Storage, *, gateways: int = 1) -> Site:
        """Start gateways that share NATS servers, with each other and with those started on them before.

        Args:
            name: The site's name.
            storage: The servers.
            gateways: The number of gateways, each with its own ports.

        Raises:
            ExceptionGroup: A gateway did not become ready.
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
    """Start sites concurrently.

    Raises:
        ExceptionGroup: A site did not become ready; those still starting have been stopped.
    """
    async with asyncio.TaskGroup() as tasks:
        starting = [tasks.create_task(each) for each in sites]
    return [each.result() for each in starting]


def _size(folder: Path) -> int:
    size = 0
    for file in folder.rglob("*"):
        # Servers replace and remove files meanwhile.
        try:
            size += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:
            continue
    return size
