"""The processes of a run: the servers that are compared, the handlers of two of them, and the load."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from bench.load import Order, Outcome
from bench.traffic import Kind
from sandbox import gateway
from sandbox.pki import Pki, make_pki
from sandbox.sandbox import ISSUER_ID

__all__ = ["Processes", "Server"]

_START_SECONDS = 10.0
_STOP_SECONDS = 10.0
# An outcome lists its latencies in one line.
_LONGEST_LINE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is measured."""

    name: str
    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Processes:
    """All that runs during a measurement."""

    storing: tuple[Server, Server, Server]
    """For notifications: the gateway as in production, the same edge storing nothing, bare aiohttp answering 204."""
    asking: tuple[Server, Server]
    """For questions: the same gateway, and a bare stream; each with a handler in a process of its own."""
    _load: asyncio.subprocess.Process

    @classmethod
    @asynccontextmanager
    async def start(cls, folder: Path) -> "AsyncIterator[Processes]":
        """Run everything for as long as the block lasts.

        Args:
            folder: Where keys, settings and the event log go; what disk it is on matters.

        Raises:
            RuntimeError: A process did not start.
        """
        pki = await asyncio.to_thread(make_pki, folder / "keys")
        # No call goes to D1, so nothing listens at its address.
        policy = gateway.write_policy(folder / "policy.toml")
        config = gateway.GatewayConfig(ISSUER_ID, pki, "https://127.0.0.1:9", folder / "d1-gateway.db", policy)
        settings = folder / "baseline.toml"
        settings.write_text(config.to_toml())
        credentials = (pki.d1_client.certificate, pki.d1_client.key, pki.server_ca)
        async with (
            await gateway.GatewayProcess.start(config, folder) as served,
            _python("bench.baseline", "nothing", settings) as nothing,
            _python("bench.baseline", "bare", settings) as bare,
            _python("bench.baseline", "stream", settings) as stream,
            _python("bench.load", ISSUER_ID, *credentials) as load,
        ):
            port = int(served.edge.rpartition(":")[2])
            stream_port, stream_address = (await _line(stream, _START_SECONDS)).decode().split()
            async with _handler(served.grpc, pki), _handler(stream_address, pki):
                yield cls(
                    storing=(
                        Server("edge", port, served.pid),
                        Server("edge, storing nothing", int(await _line(nothing, _START_SECONDS)), nothing.pid),
                        Server("bare aiohttp, 204", int(await _line(bare, _START_SECONDS)), bare.pid),
                    ),
                    asking=(
                        Server("gateway", port, served.pid),
                        Server("bare stream", int(stream_port), stream.pid),
                    ),
                    _load=load,
                )

    async def load(
        self, server: Server, traffic: Kind, *, connections: int, seconds: float, rate: float = 0.0
    ) -> Outcome:
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
        order = Order(server.port, server.pid, traffic, connections, seconds, rate)
        if self._load.stdin is None:
            raise RuntimeError("The load takes no orders.")
        self._load.stdin.write(orjson.dumps(asdict(order)) + b"\n")
        answer = await _line(self._load, 2 * seconds + _START_SECONDS + _STOP_SECONDS)
        return Outcome(**orjson.loads(answer))


@asynccontextmanager
async def _handler(address: str, pki: Pki) -> AsyncIterator[None]:
    async with _python("bench.handler", address, pki.server_ca, pki.caller.certificate, pki.caller.key) as handler:
        await _line(handler, _START_SECONDS)
        yield


@asynccontextmanager
async def _python(module: str, *arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
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


async def _line(process: asyncio.subprocess.Process, seconds: float) -> bytes:
    if process.stdout is None:
        raise RuntimeError("The process has no standard output.")
    async with asyncio.timeout(seconds):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"A process ended with {await process.wait()}.")
    return line
