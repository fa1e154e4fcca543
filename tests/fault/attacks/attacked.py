"""A gateway process under attack, seen by D1: which of its new connections are served, and how soon."""

import asyncio
import json
import math
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from sandbox import Sandbox
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.integration.edge.edge_caller import event, raw_request
from tests.running import edge_tls, notification_path

__all__ = ["Attacked", "Served", "attacked_gateway"]

_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Served:
    """How D1 was served."""

    seconds: list[float] = field(default_factory=list)
    """Of each success: from the start to the response."""

    def quantile_seconds(self, share: float) -> float:
        """Return the time within which this share of the successes came; infinite without any."""
        return sorted(self.seconds)[math.ceil(len(self.seconds) * share) - 1] if self.seconds else math.inf


@dataclass(frozen=True, slots=True)
class Attacked:
    """The gateway, and its D1."""

    sandbox: Sandbox
    gateway: GatewayProcess

    @property
    def edge_port(self) -> int:
        return int(self.gateway.edge.rpartition(":")[2])

    async def new_connections(self, count: int) -> Served:
        """Post notifications one after the other, each over a new connection, its TLS handshake included.

        Ends with the second failure.
        """
        context = edge_tls(self.sandbox)
        served = Served()
        for number in range(count):
            began = time.monotonic()
            writer = None
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.edge_port, ssl=context)
                    await _post(reader, writer, f"op_new_{number}_{time.monotonic_ns()}")
                served.seconds.append(time.monotonic() - began)
            except (OSError, asyncio.IncompleteReadError):
                if number + 1 - len(served.seconds) > 1:
                    break
            finally:
                if writer is not None:
                    writer.transport.abort()
            await asyncio.sleep(_PAUSE_SECONDS)
        return served

    @asynccontextmanager
    async def posting(self, interval_seconds: float = 0.02) -> AsyncIterator[Served]:
        """Post notifications over one connection for the duration of the block; yields how it is served."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.edge_port, ssl=edge_tls(self.sandbox))
        served = Served()

        async def post() -> None:
            while True:
                began = time.monotonic()
                await _post(reader, writer, f"op_kept_{time.monotonic_ns()}")
                served.seconds.append(time.monotonic() - began)
                await asyncio.sleep(interval_seconds)

        task = asyncio.create_task(post())
        try:
            yield served
            assert not task.done(), task.exception()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            writer.transport.abort()

    async def refused(self) -> dict[str, int]:
        """Return how many connections the edge has turned away, by reason."""
        found = re.findall(
            r'^d1_gateway_edge_connections_refused_total\{reason="(\w+)"\} (\S+)$', await self.metrics(), re.MULTILINE
        )
        return {reason: int(float(number)) for reason, number in found}

    async def metrics(self) -> str:
        async with aiohttp.ClientSession() as session, session.get(f"{self.gateway.admin}/metrics") as response:
            return await response.text()


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, operation_id: str) -> None:
    body = json.dumps(event(operationId=operation_id)).encode()
    writer.write(raw_request(body, path=notification_path("card-1")))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 204 "), head


@asynccontextmanager
async def attacked_gateway(folder: Path, more: Mapping[str, Any] | None = None) -> AsyncIterator[Attacked]:
    """Run a sandbox and a gateway process, with more settings by table."""
    async with Sandbox.start(folder / "keys") as sandbox:
        config = replace(GatewayConfig.of(sandbox, folder), more=more or {})
        async with await GatewayProcess.start(config, folder) as gateway:
            yield Attacked(sandbox, gateway)
