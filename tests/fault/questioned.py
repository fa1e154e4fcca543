"""Gateways that share a NATS server, each in a process of its own, and D1 asking them."""

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

__all__ = ["SECONDS", "Questioned", "questioned", "until"]

SECONDS = 30.0
"""More than anything here takes on a busy machine."""

_CONSUMER = "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-1"


@dataclass(frozen=True, slots=True)
class Questioned:
    """The gateways, ways to each for handlers, and D1's HTTP client."""

    gateways: Sequence[GatewayProcess]
    channels: Sequence[grpc.aio.Channel]
    session: aiohttp.ClientSession

    async def ask(self, gateway: int) -> int:
        """Ask a gateway who a consumer is; returns the status."""
        async with self.session.get(self.gateways[gateway].edge + _CONSUMER) as answer:
            await answer.read()
            return answer.status

    @asynccontextmanager
    async def handler(self, gateway: int, answer: Responder) -> AsyncIterator[Handler]:
        """Have a handler at a gateway, one question at a time."""
        answers: Mapping[str, Responder] = {"consumer_information": answer}
        async with Handler.connect(self.channels[gateway], answers, max_in_flight=1) as handler:
            yield handler

    async def hear_each_other(self) -> None:
        """Let each gateway hear of every handler."""
        # They say it at once, and again each second.
        await asyncio.sleep(1.5)


@asynccontextmanager
async def questioned(folder: Path, count: int, *, deadline_seconds: float) -> AsyncIterator[Questioned]:
    """Run a NATS server, and gateways that share it."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start(folder / "keys"))
        nats = await stack.enter_async_context(await NatsServer.start(folder / "nats"))
        storage = SharedStorage.make([nats.url], folder)
        deadline = {"callbacks.consumer_information": {"deadline_seconds": deadline_seconds}}
        gateways, channels = [], []
        for number in range(count):
            place = folder / f"gateway-{number}"
            place.mkdir()
            config = replace(GatewayConfig.of(sandbox, place, shared=storage), more=deadline)
            gateways.append(await stack.enter_async_context(await GatewayProcess.start(config, place)))
            channels.append(await stack.enter_async_context(channel(gateways[-1].grpc, sandbox.pki)))
        session = await stack.enter_async_context(edge_session(sandbox))
        yield Questioned(gateways, channels, session)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something has become true."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  what another process does sets no event
            await asyncio.sleep(0.01)
