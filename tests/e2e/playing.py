"""Runs `d1-gateway sandbox`, and uses it as a person at a terminal does."""

import json
from asyncio import timeout
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from tests.e2e.command import Ended, ended, running, started

__all__ = ["SECONDS", "Playing", "playing"]

SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Playing:
    """A running sandbox."""

    process: Process
    where: Path
    """The folder that it was started in."""
    printed: str

    @property
    def folder(self) -> Path:
        return self.where / "d1-sandbox"

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / "sandbox.json").read_text())
        return facts

    async def control(self, method: str, path: str, **fields: Any) -> dict[str, Any]:
        url = f"{self.facts['addresses']['control']}/sandbox/{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url, json=fields or None) as response:
            assert response.status < 300, await response.text()
            return {} if response.status == 204 else dict(await response.json())

    @asynccontextmanager
    async def shell(self, command: str) -> AsyncIterator[Process]:
        """Run a command as pasted, after what is printed first, with nothing else on the path."""
        script = f"source d1-sandbox/sandbox.env\n{command}"
        foreground = ("env", "--default-signal", "PATH=/usr/bin:/bin", "bash", "-c", script)
        async with timeout(SECONDS), started(*foreground, session=True, folder=self.where) as process:
            yield process

    async def call(self, rpc: str, **request: Any) -> Ended:
        async with self.shell(f"echo '{json.dumps(request)}' | d1-gateway-client call {rpc} --data -") as process:
            return await ended(process)

    async def notifications(self) -> list[str]:
        async with self.shell("d1-gateway-client watch --from-start --no-follow --json") as process:
            watched = await ended(process)
        assert watched.status == 0, watched
        return watched.stdout.splitlines()


@asynccontextmanager
async def playing(where: Path, *options: str, port_base: int = 0) -> AsyncIterator[Playing]:
    command = running("sandbox", "--port-base", str(port_base), *options, folder=where)
    async with timeout(SECONDS), command as process:
        assert process.stdout is not None
        printed = ""
        while "Stop with Ctrl-C" not in printed:
            line = await process.stdout.readline()
            assert line, f"it ended: {printed}{await ended(process)}"
            printed += line.decode()
        yield Playing(process, where, printed)
