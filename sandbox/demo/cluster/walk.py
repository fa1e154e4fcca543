"""The demonstration as a whole: real processes, real TLS connections, throw-away keys."""

from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from sandbox.demo.cluster.gateway_loss import GatewayLoss
from sandbox.demo.cluster.nats_loss import NatsLoss
from sandbox.demo.cluster.recovery import Recovery
from sandbox.demo.cluster.sharing import Sharing
from sandbox.demo.cluster.site import Site
from sandbox.demo.cluster.watcher import Watcher
from sandbox.demo.steps import Steps

__all__ = ["demo_cluster"]


async def demo_cluster(console: Console) -> bool:
    """Run all steps and print each; return whether all passed."""
    steps = Steps(console)
    with TemporaryDirectory(prefix="d1-gateway-demo-") as name:
        async with AsyncExitStack() as stack:
            try:
                site = await stack.enter_async_context(Site.open(steps, Path(name)))
            except* RuntimeError as errors:
                for error in errors.exceptions:
                    console.print(f"the demo cannot run: {error}", markup=False, highlight=False, soft_wrap=True)
                steps.failed += 1
            else:
                _print(console, site, name)
                await _walk(site)
    steps.summary()
    return steps.failed == 0


async def _walk(site: Site) -> None:
    await Sharing(site).walk()
    async with Watcher(site.a) as at_a, Watcher(site.b) as at_b:
        await GatewayLoss(site, at_a, at_b).walk()
        loss = NatsLoss(site, at_a)
        await loss.walk()
        await Recovery(site, at_b, loss.killed).walk()


def _print(console: Console, site: Site, folder: str) -> None:
    lines = [f"D1 simulator at {site.sandbox.d1_url}, throw-away keys in {folder}"]
    lines += [f"{server.name} at {server.url}, process {server.pid}" for server in site.nats.servers]
    for letter, gateway in (("A", site.a.gateway), ("B", site.b.gateway)):
        lines.append(
            f"gateway {letter} at {gateway.grpc} (gRPC), {gateway.edge} (D1's callbacks), process {gateway.pid}"
        )
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)
