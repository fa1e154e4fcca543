"""The processes of a measurement: gateways, baselines, their handlers, and the load."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from bench.load import Order, Outcome
from bench.traffic import Kind
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage, write_policy
from sandbox.pki import Pki, make_pki
from sandbox.sandbox import ISSUER_ID

__all__ = ["Ground", "Loader", "Server", "baseline", "handler", "line", "loader", "python"]

_START_SECONDS = 10.0
_STOP_SECONDS = 10.0
# An outcome lists its latencies in one line.
_LONGEST_LINE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is measured."""

    name: str
    port: int
    pids: tuple[int, ...]
    """Its process, and that of the storage that it uses if that is a server too."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What the servers of one measurement have in common."""

    folder: Path
    """Where keys, settings and logs go; what disk it is on matters."""
    config: GatewayConfig
    settings: Path
    """The same as a file, for baselines."""

    @classmethod
    async def prepare(cls, folder: Path) -> "Ground":
        """Make keys and settings in a folder."""
        pki = await asyncio.to_thread(make_pki, folder / "keys")
        policy = write_policy(folder / "policy.toml")
        # No call goes to D1, so nothing listens at its address.
        config = GatewayConfig(ISSUER_ID, pki, "https://127.0.0.1:9", folder / "d1-gateway.db", policy)
        settings = folder / "baseline.toml"
        settings.write_text(config.to_toml())
        return cls(folder, config, settings)

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[GatewayProcess]:
        """Serve as in production, for as long as the block lasts."""
        async with await GatewayProcess.start(self.config, self.folder) as served:
            yield served

    @asynccontextmanager
    async def gateway_on_nats(self, folder: Path, url: str) -> AsyncIterator[GatewayProcess]:
        """As `gateway`, with a NATS server for all that is kept.

        Args:
            folder: Its own, there already.
            url: Where the server is.
        """
        config = replace(self.config, shared=SharedStorage.make([url], folder))
        async with await GatewayProcess.start(config, folder) as served:
            yield served


class Loader:
    """The process that makes the load."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Hold a process that runs; `loader` starts one."""
        self._process = process

    async def put(self, server: Server, traffic: Kind, *, connections: int, seconds: float, rate: float) -> Outcome:
        """Put load on a server.

        Args:
            server: Which one.
            traffic: What it is sent.
            connections: Over how many connections, made before the load begins.
            seconds: For how long.
            rate: Requests a second; 0 for as many as it takes.

        Raises:
            RuntimeError: The load broke off; why stands on standard error.
        """
        order = Order(server.port, server.pids, traffic, connections, seconds, rate)
        if self._process.stdin is None:
            raise RuntimeError("The load takes no orders.")
        self._process.stdin.write(orjson.dumps(asdict(order)) + b"\n")
        answer = await line(self._process, 2 * seconds + _START_SECONDS + _STOP_SECONDS)
        return Outcome(**orjson.loads(answer))


@asynccontextmanager
async def loader(pki: Pki) -> AsyncIterator[Loader]:
    """Have the load at hand for as long as the block lasts."""
    arguments = (ISSUER_ID, pki.d1_client.certificate, pki.d1_client.key, pki.server_ca)
    async with python("bench.load", *arguments) as process:
        yield Loader(process)


@asynccontextmanager
async def baseline(ground: Ground, kind: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a baseline for as long as the block lasts; where it listens is its first `line`."""
    async with python("bench.baseline", kind, ground.settings, *arguments) as process:
        yield process


@asynccontextmanager
async def handler(address: str, pki: Pki) -> AsyncIterator[None]:
    """Have a handler connected for as long as the block lasts."""
    async with python("bench.handler", address, pki.server_ca, pki.caller.certificate, pki.caller.key) as process:
        await line(process)
        yield


@asynccontextmanager
async def python(module: str, *arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module as a process for as long as the block lasts; it is ended with SIGTERM."""
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
    """Read the next line that a process says.

    Raises:
        RuntimeError: It ended instead.
        TimeoutError: It says nothing for so many seconds.
    """
    if process.stdout is None:
        raise RuntimeError("The process has no standard output.")
    async with asyncio.timeout(seconds):
        said = await process.stdout.readline()
    if not said:
        raise RuntimeError(f"A process ended with {await process.wait()}.")
    return said
