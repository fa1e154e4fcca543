"""The demonstration as a whole: real processes, real TLS connections, throw-away keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from sandbox.d1.callbacks.notifier import EdgeCredentials
from sandbox.demo.authentications import Authentications
from sandbox.demo.cards import Cards
from sandbox.demo.notification_sender import NotificationSender
from sandbox.demo.notifications import Notifications
from sandbox.demo.purchases import Purchases
from sandbox.demo.stage import Stage, answering
from sandbox.demo.steps import Steps
from sandbox.gateway import GatewayConfig, GatewayProcess, channel
from sandbox.sandbox import Sandbox

__all__ = ["addresses", "demo", "staged", "walk"]

_OAUTH = EdgeCredentials("d1-demo", "demo-client-secret", "notifications")


async def demo(console: Console) -> bool:
    """Run all steps and print each; return whether all passed."""
    steps = Steps(console)
    async with staged(steps) as stage:
        console.print(addresses(stage), highlight=False, soft_wrap=True)
        await walk(stage)
    steps.summary()
    return steps.failed == 0


async def walk(stage: Stage) -> None:
    """Run all steps; the last one stops the gateway."""
    for part in (Cards, Authentications, Purchases, Notifications):
        await part(stage).walk()


def addresses(stage: Stage) -> str:
    """Return where simulators and gateway are, as text."""
    sandbox, gateway = stage.sandbox, stage.gateway
    return (
        f"D1 simulator at {sandbox.d1_url}, throw-away keys in {gateway.log.parent}\n"
        f"gateway at {gateway.grpc} (gRPC) and {gateway.edge} (D1's callbacks)"
    )


@asynccontextmanager
async def staged(steps: Steps) -> AsyncIterator[Stage]:
    """Run simulators and a gateway for the duration of the block."""
    with TemporaryDirectory(prefix="d1-gateway-demo-") as name:
        folder = Path(name)
        async with Sandbox.start(folder / "keys", edge_credentials=_OAUTH) as sandbox:
            gateway = await GatewayProcess.start(GatewayConfig.of(sandbox, folder, oauth=_OAUTH), folder)
            sandbox.set_edge(gateway.edge)
            try:
                async with channel(gateway.grpc, sandbox.pki) as connected:
                    stage = Stage(steps, sandbox, gateway, connected, NotificationSender(sandbox))
                    async with answering(stage):
                        yield stage
            finally:
                await gateway.stop()
