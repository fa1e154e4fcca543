"""Several gateways that share the ports and a NATS server, each in a process of its own, under a supervisor."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from sandbox import Sandbox
from sandbox.gateway import GatewayConfig, GatewayProcess, SharedStorage
from sandbox.nats import NatsServer

__all__ = ["Crew", "crew"]

_SECONDS = 60.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Crew:
    """A supervisor and its workers."""

    gateway: GatewayProcess

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers."""
        pid = self.gateway.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def events(self, event: str, **fields: object) -> list[Mapping[str, Any]]:
        """What all of them logged."""
        written = self.gateway.log.read_bytes().splitlines(keepends=True)
        lines = [orjson.loads(line) for line in written if line.endswith(b"\n")]
        return [line for line in lines if line["event"] == event and fields.items() <= line.items()]

    async def until_logged(self, event: str, times: int = 1) -> None:
        """Wait until something has been logged so often."""
        async with asyncio.timeout(_SECONDS):
            # A file that another process writes has no event to wait for.
            while len(self.events(event)) < times:  # noqa: ASYNC110 (see above)
                await asyncio.sleep(_POLL_SECONDS)

    async def renew(self, times: int) -> None:
        """Restart every worker, one after the other; the number says for which time."""
        os.kill(self.gateway.pid, signal.SIGHUP)
        await self.until_logged("rolling restart done", times)

    async def metrics(self) -> str:
        """Scrape."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.gateway.admin}/metrics") as answer:
            return await answer.text()


@asynccontextmanager
async def crew(sandbox: Sandbox, folder: Path, workers: int = 2) -> AsyncIterator[Crew]:
    """Run a crew for a sandbox, and end it if it has not ended by itself."""
    async with await NatsServer.start(folder / "nats") as server:
        config = GatewayConfig.of(sandbox, folder, shared=SharedStorage.make([server.url], folder))
        async with await GatewayProcess.start(config, folder, workers=workers) as gateway:
            sandbox.set_edge(gateway.edge)
            yield Crew(gateway)
