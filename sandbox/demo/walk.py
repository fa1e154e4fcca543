"""The demonstration as a whole: real processes, real TLS connections, throw-away keys."""

from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from sandbox.d1.callbacks.notifier import EdgeCredentials
from sandbox.demo.authentications import Authentications
from sandbox.demo.cards import Cards
from sandbox.demo.notification_sender import NotificationSender
from sandbox.demo.notifications import Notifications
from sandbox.demo.purchases import Purchases
from sandbox.demo.stage import Stage
from sandbox.demo.steps import Steps
from sandbox.gateway import GatewayConfig, GatewayProcess, channel
from sandbox.sandbox import Sandbox

__all__ = ["demo"]

_OAUTH = EdgeCredentials("d1-demo", "demo-client-secret", "notifications")


async def demo(console: Console) -> bool:
    """Run all steps and print each; return whether all passed."""
    steps = Steps(console)
    with TemporaryDirectory(prefix="d1-gateway-demo-") as name:
        folder = Path(name)
        async with Sandbox.start(folder / "keys", edge_credentials=_OAUTH) as sandbox:
            console.print(
                f"D1 simulator at {sandbox.d1_url}, throw-away keys in {folder}", highlight=False, soft_wrap=True
            )
            gateway = await GatewayProcess.start(GatewayConfig.of(sandbox, folder, oauth=_OAUTH), folder)
            console.print(
                f"gateway at {gateway.grpc} (gRPC) and {gateway.edge} (D1's callbacks)", highlight=False, soft_wrap=True
            )
            sandbox.set_edge(gateway.edge)
            try:
                async with channel(gateway.grpc, sandbox.pki) as connected:
                    stage = Stage(steps, sandbox, gateway, connected, NotificationSender(sandbox))
                    for part in (Cards, Authentications, Purchases, Notifications):
                        await part(stage).walk()
            finally:
                await gateway.stop()
    steps.summary()
    return steps.failed == 0
