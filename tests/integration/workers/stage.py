"""A supervisor in a process of its own, with stand-ins for workers, and ways to look at all of them."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from prometheus_client.parser import text_string_to_metric_families

from gateway.workers.pulse import PROBE_SECONDS

__all__ = ["Life", "Stage", "is_alive", "staged"]

_SECONDS = 30.0
_POLL_SECONDS = 0.02
_SUPERVISING = Path(__file__).with_name("supervising.py")


@dataclass(frozen=True, slots=True)
class Life:
    """Something that became of a worker."""

    at: float
    what: str
    number: int
    pid: int
    port: int


class Stage:
    """A supervisor at work."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self._folder = folder
        self.where: Mapping[str, Any] = {}

    @property
    def log(self) -> list[Mapping[str, Any]]:
        """What it logged so far."""
        return [orjson.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text()

    @property
    def lives(self) -> list[Life]:
        """What became of the workers so far."""
        file = self._folder / "lives.jsonl"
        return [Life(**orjson.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []

    def pids(self, what: str = "ready") -> list[int]:
        """Who has come so far, in order."""
        return [life.pid for life in self.lives if life.what == what]

    def order(self, order: str, content: str = "") -> None:
        """Give every worker that starts from now on an order."""
        (self._folder / order).write_text(content)

    def take_back(self, order: str) -> None:
        (self._folder / order).unlink()

    def events(self, event: str) -> list[Mapping[str, Any]]:
        return [line for line in self.log if line["event"] == event]

    async def until(self, happened: Callable[[], object]) -> None:
        """Wait for something in another process, which has no event to wait for."""
        async with asyncio.timeout(_SECONDS):
            while not happened():  # noqa: ASYNC110 (see above)
                await asyncio.sleep(_POLL_SECONDS)

    async def until_logged(self, event: str, times: int = 1) -> None:
        await self.until(lambda: len(self.events(event)) >= times)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(_SECONDS):
            return await self.process.wait()

    async def get(self, path: str) -> tuple[int, str]:
        """Ask the admin port."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(f"http://{self.where['admin']}{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def ready(self) -> tuple[int, Mapping[str, str]]:
        status, body = await self.get("/readyz")
        return status, orjson.loads(body)["checks"]

    async def until_ready(self) -> None:
        async with asyncio.timeout(_SECONDS):
            while (await self.ready())[0] != HTTPStatus.OK:  # noqa: ASYNC110 (as above)
                await asyncio.sleep(_POLL_SECONDS)

    async def metric(self, name: str) -> float:
        """Scrape a metric that has one series; 0 without it."""
        _, text = await self.get("/metrics")
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        return sum(each.value for each in samples if each.name == f"d1_gateway_{name}")

    async def call(self) -> tuple[int, int]:
        """Connect to the edge; returns the number and the process id of who answers.

        Raises:
            OSError: Nobody does.
        """
        host, _, port = str(self.where["edge"]).rpartition(":")
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                number, pid = (await reader.readuntil(b"\n")).split()
            except asyncio.IncompleteReadError as error:
                raise ConnectionResetError("closed without an answer") from error
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        return int(number), int(pid)


@asynccontextmanager
async def staged(
    settings: str, folder: Path, count: int = 2, *, is_good: bool = True, probe_seconds: float = PROBE_SECONDS
) -> AsyncIterator[Stage]:
    """Start a supervisor, and end it if it has not ended by itself.

    Args:
        settings: TOML.
        folder: Where everything is written.
        count: How many workers.
        is_good: Whether to wait until all are ready.
        probe_seconds: How often workers are asked for a sign of life.
    """
    file = folder / "settings.toml"
    file.write_text(settings)
    with (folder / "stderr").open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(_SUPERVISING), str(count), str(file), str(probe_seconds)), stderr=stderr
        )
    stage = Stage(process, folder)
    try:
        if is_good:
            await stage.until(lambda: stage.events("ready") or process.returncode is not None)
            assert stage.events("ready"), stage.stderr
            stage.where = stage.events("ready")[0]
        yield stage
    finally:
        if process.returncode is None:
            stage.send(signal.SIGTERM)
            await stage.ended()
        for pid in {life.pid for life in stage.lives}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Tell whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
