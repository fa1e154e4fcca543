"""Gateways that share a NATS server, each in its own process, and D1's callbacks to them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import grpc

from sandbox import Sandbox
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage, channel
from sandbox.handler import Handler, Responder
from sandbox.nats import NatsServer
from tests.running import edge_session

__all__ = ["SECONDS", "CallbackCluster", "gateways", "until"]

SECONDS = 30.0
"""A limit that nothing here exceeds even on a busy machine."""

_CONSUMER = "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-1"


@dataclass(frozen=True, slots=True)
class CallbackCluster:
    """The gateways, channels to each for handlers, and D1's HTTP client."""

    gateways: Sequence[GatewayProcess]
    channels: Sequence[grpc.aio.Channel]
    session: aiohttp.ClientSession

    async def call(self, gateway: int) -> int:
        """Request consumer information from a gateway; return the status."""
        async with self.session.get(self.gateways[gateway].edge + _CONSUMER) as response:
            await response.read()
            return response.status

    @asynccontextmanager
    async def handler(self, gateway: int, responder: Responder) -> AsyncIterator[Handler]:
        """Run a handler at a gateway, with one callback at a time."""
        responders: Mapping[str, Responder] = {"consumer_information": responder}
        async with Handler.connect(self.channels[gateway], responders, max_in_flight=1) as handler:
            yield handler

    async def know_each_other(self) -> None:
        """Wait until each gateway knows every handler."""
        # Gateways announce them at once, and again each second.
        await asyncio.sleep(1.5)


@asynccontextmanager
async def gateways(folder: Path, count: int, *, deadline_seconds: float) -> AsyncIterator[CallbackCluster]:
    """Run a NATS server, and gateways that share it."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start(folder / "keys"))
        nats = await stack.enter_async_context(await NatsServer.start(folder / "nats"))
        storage = SharedStorage.make([nats.url], folder)
        deadline = {"callbacks.consumer_information": {"deadline_seconds": deadline_seconds}}
        processes, channels = [], []
        for number in range(count):
            place = folder / f"gateway-{number}"
            place.mkdir()
            config = replace(GatewayConfig.of(sandbox, place, shared=storage), more=deadline)
            processes.append(await stack.enter_async_context(await GatewayProcess.start(config, place)))
            channels.append(await stack.enter_async_context(channel(processes[-1].grpc, sandbox.pki)))
        session = await stack.enter_async_context(edge_session(sandbox))
        yield CallbackCluster(processes, channels, session)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  another process sends no events
            await asyncio.sleep(0.01)
