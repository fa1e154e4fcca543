"""The load: h2load, which makes so many requests over so many connections, and notes how long each took."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Answered", "H2Load", "MissingToolError", "Shape"]

_OK: Final = 200
_LONGEST_SECONDS: Final = 60.0
_MICROSECONDS: Final = 1e6


class MissingToolError(Exception):
    """A program is not installed; the text says how to come by it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How requests in flight are spread over connections."""

    connections: int
    streams: int

    @property
    def in_flight(self) -> int:
        """How many there are at a time."""
        return self.connections * self.streams


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was answered with HTTP status 200."""

    began: float
    """When, in seconds since 1970."""
    ended: float


@dataclass(frozen=True, slots=True)
class H2Load:
    """Puts load on servers; its files are in a folder."""

    folder: Path

    def __post_init__(self) -> None:
        """Look whether there is an h2load.

        Raises:
            MissingToolError: There is none.
        """
        if shutil.which("h2load") is None:
            raise MissingToolError("h2load is not installed: apt-get install nghttp2-client")

    async def run(
        self, url: str, shape: Shape, requests: int, *, headers: Mapping[str, str], body: bytes, http1: bool
    ) -> Sequence[Answered]:
        """Make requests, all of the same content.

        Args:
            url: Where to.
            shape: How many at a time.
            requests: How many in all.
            headers: What to send with each.
            body: What to post with each.
            http1: Whether to speak HTTP/1.1, each request in flight on a connection of its own.

        Returns:
            When each was answered, in the order of the answers.

        Raises:
            RuntimeError: Not all were answered with 200.
        """
        data, log = self.folder / "body", self.folder / "requests.tsv"
        data.write_bytes(body)
        log.unlink(missing_ok=True)
        connections, streams = (shape.in_flight, 1) if http1 else (shape.connections, shape.streams)
        command = [
            *("h2load", f"--requests={requests}", f"--clients={connections}", f"--max-concurrent-streams={streams}"),
            *(f"--data={data}", f"--log-file={log}"),
            *(f"--header={name}: {value}" for name, value in headers.items()),
            *(["--h1"] if http1 else []),
            url,
        ]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        answered = [] if process.returncode else _read(log)
        if len(answered) != requests:
            raise RuntimeError(f"h2load: {len(answered)} of {requests} were answered with success: {said.decode()}")
        return answered


def _read(log: Path) -> list[Answered]:
    answered = []
    for line in log.read_text().splitlines():
        began, status, took = map(int, line.split("\t"))
        if status == _OK:
            answered.append(Answered(began / _MICROSECONDS, (began + took) / _MICROSECONDS))
    return answered
