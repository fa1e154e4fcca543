"""Runs the command line at a terminal, or with piped input and no terminal."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE

from tests.e2e.command import Ended, ended, running

__all__ = ["at_a_terminal", "without_a_terminal"]

_SECONDS = 30.0


async def at_a_terminal(*arguments: str | Path, typed: Sequence[str]) -> Ended:
    """Run ``d1-gateway`` at a terminal and answer its prompts, each of which ends in a colon and a space.

    Its standard error is all that the terminal shows, with what it echoes.
    """
    near, far = os.openpty()
    async with asyncio.timeout(_SECONDS), _screen(near) as screen:
        try:
            async with running(*arguments, stdin=far, stderr=far, session=True) as process:
                shown = b""
                for line in typed:
                    shown += await screen.readuntil(b": ")
                    os.write(near, f"{line}\n".encode())
                stdout, _ = await process.communicate()
        finally:
            os.close(far)
        with suppress(OSError):  # A terminal reports the closed far end this way.
            while more := await screen.read(4096):
                shown += more
    return Ended(await process.wait(), stdout.decode(), shown.decode().replace("\r\n", "\n"))


async def without_a_terminal(*arguments: str | Path, stdin: bytes = b"") -> Ended:
    """Run ``d1-gateway`` without a terminal, as a job scheduler does."""
    # Without its own session, the command would prompt on the terminal of the test run.
    async with asyncio.timeout(_SECONDS), running(*arguments, stdin=PIPE, session=True) as process:
        return await ended(process, stdin)


@asynccontextmanager
async def _screen(terminal: int) -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(terminal, "rb", buffering=0)
    )
    try:
        yield reader
    finally:
        transport.close()
        await asyncio.sleep(0)  # The transport closes its file in the next loop iteration.
