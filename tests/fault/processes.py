"""Gateways of one cluster, each in its own process."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc

from sandbox import Sandbox
from sandbox.common.ports import free_ports
from sandbox.d1.model.contract import OUTBOUND_TIMEOUT_SECONDS
from sandbox.d1.model.notification import Notification, new_details, new_operation_id
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage
from tests.contract.card_rpcs import prepare
from tests.e2e.watching import connect

__all__ = ["Processes", "during", "processes"]

_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Processes:
    """The gateways, and a channel to each. D1 sends its notifications to the last one."""

    sandbox: Sandbox
    configs: Sequence[GatewayConfig]
    gateways: Sequence[GatewayProcess]
    channels: Sequence[grpc.aio.Channel]
    _down: set[int] = field(default_factory=set)
    _paused: set[int] = field(default_factory=set)

    async def kill(self, number: int) -> None:
        """Kill a gateway (SIGKILL)."""
        self._down.add(number)
        await self.gateways[number].kill()

    async def stop(self, number: int) -> int:
        """Drain and stop a gateway (SIGTERM); return its exit status."""
        self._down.add(number)
        return await self.gateways[number].stop()

    def pause(self, number: int) -> None:
        """Freeze a gateway (SIGSTOP)."""
        self._paused.add(number)
        os.kill(self.gateways[number].pid, signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """Resume a gateway (SIGCONT)."""
        self._paused.discard(number)
        os.kill(self.gateways[number].pid, signal.SIGCONT)

    async def start(self, number: int) -> None:
        """Start a gateway again, at its former addresses, and wait until it serves."""
        await self.gateways[number].restart()
        self._down.discard(number)

    async def heal(self) -> None:
        """Start and resume what a test left down or paused."""
        for number in tuple(self._paused):
            self.resume(number)
        await asyncio.gather(*map(self.start, self._down))

    async def notify(self) -> str:
        """Have D1 send a notification, again while it is refused; return its operation id."""
        sent = Notification("card-1", new_operation_id(), datetime.now(UTC), details=new_details())
        async with asyncio.timeout(_SECONDS):
            while await self.sandbox.notifier.send(sent) != 204:  # noqa: ASYNC110 (as D1 does)
                await asyncio.sleep(0.1)
        return sent.operation_id

    @asynccontextmanager
    async def notifying(self) -> AsyncIterator[list[str]]:
        """Have D1 send notifications repeatedly, for the duration of the block. Yields their operation ids."""
        sent: list[str] = []

        async def repeat(ending: asyncio.Event) -> None:
            while not ending.is_set():
                sent.append(await self.notify())
                await asyncio.sleep(0.02)

        async with during(repeat):
            yield sent


@asynccontextmanager
async def during(*works: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Do all this for the duration of the block, each until it is done with what it does when the event is set."""
    ending = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for work in works:
            tasks.create_task(work(ending))
        try:
            yield
        finally:
            ending.set()


@asynccontextmanager
async def processes(
    folder: Path,
    count: int,
    nats_urls: Sequence[str],
    *,
    replicas: int = 1,
    edge_timeout_seconds: float = OUTBOUND_TIMEOUT_SECONDS,
    more: Mapping[str, Any] | None = None,
    have_same_ports: bool = False,
    packages: Sequence[Path] = (),
) -> AsyncIterator[Processes]:
    """Run gateways, from another release's packages if they are given. Without NATS there can be one only."""
    async with AsyncExitStack() as stack:
        starting = Sandbox.start(folder / "keys", edge_timeout_seconds=edge_timeout_seconds)
        sandbox = await stack.enter_async_context(starting)
        prepare(sandbox.store)
        storage = SharedStorage.make(nats_urls, folder, replicas=replicas) if nats_urls else None
        common = replace(GatewayConfig.of(sandbox, folder, shared=storage), more=more or {})
        ports = [free_ports(2) for _ in range(1 if have_same_ports else count)]
        configs = [
            replace(common, event_log=folder / f"{number}.db", grpc_port=grpc_port, edge_port=edge_port)
            for number, (grpc_port, edge_port) in zip(range(count), itertools.cycle(ports), strict=False)
        ]

        async def started(number: int) -> GatewayProcess:
            place = folder / f"gateway-{number}"
            place.mkdir()
            gateway = await GatewayProcess.start(configs[number], place, packages=packages)
            stack.push_async_callback(gateway.kill)
            return gateway

        # At the same time: one of them creates the streams, the others find them.
        gateways = await asyncio.gather(*map(started, range(count)))
        channels = [await stack.enter_async_context(connect(gateway.grpc, sandbox.pki)) for gateway in gateways]
        sandbox.set_edge(gateways[-1].edge)
        yield Processes(sandbox, configs, gateways, channels)
