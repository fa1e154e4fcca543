"""The command line in front of a terminal of its own, or with something piped into it and no terminal at all."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE

from tests.e2e.command import Ended

__all__ = ["at_a_terminal", "without_a_terminal"]

_COMMAND = Path(sys.executable).with_name("d1-gateway")


async def at_a_terminal(*arguments: str | Path, typed: Sequence[str], seconds: float = 30.0) -> Ended:
    """Run ``d1-gateway`` at a terminal, and answer its prompts.

    Args:
        arguments: Those of the command.
        typed: What is typed, a line for each prompt; a prompt ends in a colon and a space.
        seconds: How long it may take.

    Returns:
        How it ended; its standard error is all that stood on the terminal, what was typed included if it was echoed.

    Raises:
        TimeoutError: It did not end in time, or asked less often.
    """
    near, far = os.openpty()
    async with asyncio.timeout(seconds), _screen(near) as screen:
        try:
            async with _process(*arguments, stdin=far, stderr=far) as process:
                shown = b""
                for line in typed:
                    shown += await screen.readuntil(b": ")
                    os.write(near, f"{line}\n".encode())
                stdout, _ = await process.communicate()
        finally:
            os.close(far)
        with suppress(OSError):  # It is how a terminal says that nobody is left at the far end.
            while more := await screen.read(4096):
                shown += more
    return Ended(await process.wait(), stdout.decode(), shown.decode().replace("\r\n", "\n"))


async def without_a_terminal(*arguments: str | Path, stdin: bytes = b"", seconds: float = 30.0) -> Ended:
    """Run ``d1-gateway`` where there is no terminal, as a job of a scheduler would.

    Raises:
        TimeoutError: It did not end in time.
    """
    async with asyncio.timeout(seconds), _process(*arguments, stdin=PIPE, stderr=PIPE) as process:
        stdout, stderr = await process.communicate(stdin)
    return Ended(await process.wait(), stdout.decode(), stderr.decode())


@asynccontextmanager
async def _process(*arguments: str | Path, stdin: int, stderr: int) -> AsyncIterator[asyncio.subprocess.Process]:
    # A session of its own has no controlling terminal: otherwise it would ask on that of whoever runs the tests.
    process = await asyncio.create_subprocess_exec(
        _COMMAND, *arguments, stdin=stdin, stdout=PIPE, stderr=stderr, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


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
        await asyncio.sleep(0)  # It closes its file at the next turn of the loop.
