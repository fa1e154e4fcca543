"""Processes of the measurement that report their ports and, on request, their counts.

A child writes its ports to standard output as soon as it serves. For each line on standard input it writes the number
of requests served; it ends when its standard input closes.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Child", "child", "serve_counts"]

_START_SECONDS = 20.0
_ANSWER_SECONDS = 5.0
_STOP_SECONDS = 5.0


async def serve_counts(ports: Sequence[int], count: Callable[[], int]) -> None:
    """Run as a child: write the ports, then counts, until standard input closes."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        _say(*ports)
        while await reader.readline():
            _say(count())
    finally:
        transport.close()


def _say(*numbers: int) -> None:
    sys.stdout.write(f"{' '.join(map(str, numbers))}\n")
    sys.stdout.flush()


@dataclass(frozen=True, slots=True)
class Child:
    """A serving process. Made by `child`."""

    ports: Sequence[int]
    pid: int
    _process: asyncio.subprocess.Process

    async def count(self) -> int:
        """Return the number of requests that it has served.

        Raises:
            RuntimeError: The process has ended.
        """
        if self._process.stdin is not None:
            self._process.stdin.write(b"\n")
        (count,) = await _numbers(self._process, _ANSWER_SECONDS)
        return count


@asynccontextmanager
async def child(*command: str | Path) -> AsyncIterator[Child]:
    """Run a serving process for the duration of the block.

    Args:
        *command: The command line.

    Raises:
        RuntimeError: The process ended before it served.
        TimeoutError: The process did not start to serve in time.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        yield Child(await _numbers(process, _START_SECONDS), process.pid, process)
    finally:
        await _end(process)


async def _numbers(process: asyncio.subprocess.Process, seconds: float) -> list[int]:
    if process.stdout is None:
        raise RuntimeError("The process has no standard output.")
    async with asyncio.timeout(seconds):
        line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"A process ended with {await process.wait()}.")
    return [int(number) for number in line.split()]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
