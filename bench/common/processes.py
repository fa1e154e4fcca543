"""The processes of a measurement: gateways, baselines and handlers."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox.common.pki import Pki, make_pki
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage, write_policy
from sandbox.sandbox import ISSUER_ID

__all__ = ["Ground", "Server", "baseline", "handler", "line", "python"]

_START_SECONDS = 10.0
_STOP_SECONDS = 10.0
# An outcome has its latencies on one line.
_LONGEST_LINE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Server:
    """A measured server."""

    name: str
    port: int
    pids: tuple[int, ...]
    """Its process, and that of its storage if that is a server too."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the servers of one measurement share."""

    folder: Path
    """The folder of keys, settings and logs; its disk affects the results."""
    config: GatewayConfig
    settings: Path
    """The settings as a file, for baselines."""

    @classmethod
    async def prepare(cls, folder: Path) -> "Ground":
        """Create keys and settings in a folder."""
        pki = await asyncio.to_thread(make_pki, folder / "keys")
        policy = write_policy(folder / "policy.toml")
        # No call goes to D1, so nothing listens at its address.
        config = GatewayConfig(ISSUER_ID, pki, "https://127.0.0.1:9", folder / "d1-gateway.db", policy)
        settings = folder / "baseline.toml"
        settings.write_text(config.to_toml())
        return cls(folder, config, settings)

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[GatewayProcess]:
        """Run a gateway as in production for the duration of the block."""
        async with await GatewayProcess.start(self.config, self.folder) as served:
            yield served

    @asynccontextmanager
    async def gateway_on_nats(self, folder: Path, url: str) -> AsyncIterator[GatewayProcess]:
        """As `gateway`, with a NATS server as storage.

        Args:
            folder: Its own folder, which exists.
            url: The server's URL.
        """
        config = replace(self.config, shared=SharedStorage.make([url], folder))
        async with await GatewayProcess.start(config, folder) as served:
            yield served


@asynccontextmanager
async def baseline(ground: Ground, kind: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a baseline for the duration of the block; its first `line` is its address."""
    async with python("bench.baselines.bare_edge", kind, ground.settings, *arguments) as process:
        yield process


@asynccontextmanager
async def handler(address: str, pki: Pki, *, count: int = 1) -> AsyncIterator[None]:
    """Run a process of one or more handlers for the duration of the block."""
    arguments = (address, pki.server_ca, pki.caller.certificate, pki.caller.key, str(count))
    async with python("bench.clients.handler", *arguments) as process:
        await line(process)
        yield


@asynccontextmanager
async def python(module: str, *arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module as a process for the duration of the block; then stop it with SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE_BYTES,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def line(process: asyncio.subprocess.Process, seconds: float = _START_SECONDS) -> bytes:
    """Read the next line of a process.

    Raises:
        RuntimeError: The process ended instead.
        TimeoutError: No line within the time limit.
    """
    if process.stdout is None:
        raise RuntimeError("The process has no standard output.")
    async with asyncio.timeout(seconds):
        said = await process.stdout.readline()
    if not said:
        raise RuntimeError(f"A process ended with {await process.wait()}.")
    return said
