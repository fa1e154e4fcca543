"""The load: h2load, which makes requests over connections and logs the time of each."""

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
    """A program is not installed; the text says how to install it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The distribution of requests in flight over connections."""

    connections: int
    streams: int

    @property
    def in_flight(self) -> int:
        """The number of concurrent requests."""
        return self.connections * self.streams


@dataclass(frozen=True, slots=True)
class Answered:
    """A request with a response 200."""

    began: float
    """The time, in seconds since 1970."""
    ended: float


@dataclass(frozen=True, slots=True)
class H2Load:
    """Loads servers; its files are in a folder."""

    folder: Path

    def __post_init__(self) -> None:
        """Check that h2load is installed.

        Raises:
            MissingToolError: It is not installed.
        """
        if shutil.which("h2load") is None:
            raise MissingToolError("h2load is not installed: apt-get install nghttp2-client")

    async def run(
        self, url: str, shape: Shape, requests: int, *, headers: Mapping[str, str], body: bytes, http1: bool
    ) -> Sequence[Answered]:
        """Make identical requests.

        Args:
            url: The URL.
            shape: The concurrency.
            requests: The number of requests.
            headers: The headers of each request.
            body: The body of each request.
            http1: Whether to use HTTP/1.1, with one request in flight per connection.

        Returns:
            The responses, in order of completion.

        Raises:
            RuntimeError: A request had no response 200.
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
            raise RuntimeError(f"h2load: {len(answered)} of {requests} succeeded: {said.decode()}")
        return answered


def _read(log: Path) -> list[Answered]:
    answered = []
    for line in log.read_text().splitlines():
        began, status, took = map(int, line.split("\t"))
        if status == _OK:
            answered.append(Answered(began / _MICROSECONDS, (began + took) / _MICROSECONDS))
    return answered
