"""All processes of the cluster demonstration: simulators, three NATS servers, two gateways, and channels to both."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self

import aiohttp
import grpc

from sandbox.common.pki import Pki
from sandbox.d1.callbacks.notifier import EdgeCredentials
from sandbox.demo.notification_sender import NotificationSender
from sandbox.demo.stage import Stage
from sandbox.demo.steps import Steps, expect
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage, credentials
from sandbox.nats import NatsCluster, ServerTls
from sandbox.sandbox import Sandbox

__all__ = ["STREAM", "Site", "readiness"]

STREAM: Final = "d1-gateway-events"
"""The event log, as NATS knows it."""

_OAUTH: Final = EdgeCredentials("d1-demo", "demo-client-secret", "notifications")
_REPLICAS: Final = 3
_STARTS: Final = 3
"""How often a gateway is started, as a supervisor would: it ends if NATS is new and cannot make its streams for some
seconds, as on a busy machine."""


@dataclass(frozen=True, slots=True)
class Site:
    """The running processes. The two stages differ in the gateway alone."""

    steps: Steps
    sandbox: Sandbox
    nats: NatsCluster
    a: Stage
    b: Stage
    both: grpc.aio.Channel
    """A channel to both gateways, which spreads calls and avoids a gateway that is down."""
    sender: NotificationSender

    @classmethod
    @asynccontextmanager
    async def open(cls, steps: Steps, folder: Path) -> AsyncIterator[Self]:
        """Run everything for the duration of the block; then kill every process.

        Args:
            steps: Prints the steps.
            folder: The folder of keys, settings, logs and NATS data.

        Raises:
            NatsServerMissingError: ``nats-server`` is not installed.
            RuntimeError: A process did not become ready; the text is its output.
        """
        async with AsyncExitStack() as stack:
            sandbox = await stack.enter_async_context(Sandbox.start(folder / "keys", edge_credentials=_OAUTH))
            tls = ServerTls(sandbox.pki.nats_server, sandbox.pki.nats_ca)
            nats = await stack.enter_async_context(await NatsCluster.start(folder / "nats", syncs_always=True, tls=tls))
            shared = SharedStorage.make(nats.urls, folder, replicas=_REPLICAS)
            a, b = await _gateways(stack, sandbox, shared, folder)
            ways = [
                await stack.enter_async_context(_channel(sandbox.pki, addresses))
                for addresses in ((a.grpc,), (b.grpc,), (a.grpc, b.grpc))
            ]
            sender = NotificationSender(sandbox)
            at_a, at_b = (Stage(steps, sandbox, each, way, sender) for each, way in ((a, ways[0]), (b, ways[1])))
            yield cls(steps, sandbox, nats, a=at_a, b=at_b, both=ways[2], sender=sender)

    def d1_calls(self, first: Stage) -> None:
        """Have D1 call the edge of a gateway, or the other one's while the first is unreachable."""
        other = self.b if first is self.a else self.a
        self.sandbox.set_edge(first.gateway.edge, other.gateway.edge)

    async def until_in_step(self) -> str:
        """Wait until every NATS server has the whole event log; return a text that names the leader."""
        # NATS sends no event for this.
        while (copies := await self.nats.copies(STREAM)) is None or copies.behind:  # noqa: ASYNC110 (see above)
            await asyncio.sleep(0.1)
        expect(len(copies.in_step) == _REPLICAS - 1, f"there are copies at {sorted(copies.in_step)}")
        return f"{copies.leader} leads, {' and '.join(sorted(copies.in_step))} are in sync"


async def readiness(stage: Stage) -> str:
    """Return the readiness of a gateway.

    Raises:
        UnexpectedError: The gateway is not ready.
    """
    async with aiohttp.ClientSession() as session, session.get(f"{stage.gateway.admin}/readyz") as response:
        expect(response.status == HTTPStatus.OK, f"/readyz {response.status}: {await response.text()}")
        return f"/readyz {response.status}"


async def _gateways(
    stack: AsyncExitStack, sandbox: Sandbox, shared: SharedStorage, folder: Path
) -> list[GatewayProcess]:
    async def start(name: str) -> GatewayProcess:
        place = folder / f"gateway-{name}"
        place.mkdir()
        config = GatewayConfig.of(sandbox, place, oauth=_OAUTH, shared=shared)
        gateway = await _started(config, place)
        stack.push_async_callback(gateway.kill)
        return gateway

    async with asyncio.TaskGroup() as tasks:
        starting = [tasks.create_task(start(name)) for name in ("a", "b")]
    return [each.result() for each in starting]


async def _started(config: GatewayConfig, folder: Path) -> GatewayProcess:
    for _ in range(_STARTS - 1):
        with suppress(RuntimeError):
            return await GatewayProcess.start(config, folder)
    return await GatewayProcess.start(config, folder)


def _channel(pki: Pki, addresses: tuple[str, ...]) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(
        f"ipv4:{','.join(addresses)}",
        credentials(pki.server_ca, pki.caller),
        options=[
            ("grpc.default_authority", "localhost"),
            ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
            # Reconnect quickly to a gateway that is back.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ],
    )
