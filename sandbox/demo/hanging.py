"""A handler for the demonstration to kill: `sandbox.demo.hanging_handler` in a process of its own."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from sandbox.demo.stage import Stage
from sandbox.demo.steps import expect

__all__ = ["HangingHandler"]


class HangingHandler:
    """Takes every callback request and replies to none."""

    def __init__(self, process: asyncio.subprocess.Process, said: asyncio.StreamReader) -> None:
        """Use `connect`."""
        self._process = process
        self._said = said

    @classmethod
    @asynccontextmanager
    async def connect(cls, stage: Stage) -> AsyncIterator[Self]:
        """Run one at a gateway for the duration of the block, unless it is killed before."""
        pki = stage.sandbox.pki
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sandbox.demo.hanging_handler"),
            *(stage.gateway.grpc, pki.server_ca, pki.caller.certificate, pki.caller.key),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            if process.stdout is None:
                raise RuntimeError("the handler's process has no standard output")
            handler = cls(process, process.stdout)
            await handler._line()
            yield handler
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def callback_kind(self) -> str:
        """Wait for its next callback request; return the kind."""
        return (await self._line()).rpartition(" ")[2]

    async def kill(self) -> None:
        """Kill it (SIGKILL), and wait until it is gone.

        A second signal while it ends would take its exit status away from asyncio, which prints a warning then.
        """
        self._process.kill()
        await self._process.wait()

    async def _line(self) -> str:
        line = await self._said.readline()
        expect(bool(line), "the handler's process ended")
        return line.decode().strip()
