"""Trails on a real disk, and disks that fail."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from errno import ENOSPC
from pathlib import Path
from threading import Event
from typing import Any

import orjson

from gateway.audit.folder import Place, read_beginning
from gateway.audit.lines import Line, members
from gateway.audit.seal import Seal
from gateway.audit.trail import Trail
from gateway.audit.verification import Anchors, Verified, verify

KEY = bytes(range(32))
MAX_FILE_BYTES = 65_536


class FaultyPlace(Place):
    """A place on a disk that may be full, or not respond."""

    is_full = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.responds = Event()
        self.responds.set()

    def create(self, number: int, beginning: bytes) -> int:
        self.responds.wait(10)
        if self.is_full:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        return super().create(number, beginning)

    def fill(self, trail: Trail) -> None:
        """Let writes to the open file fail too."""
        self.is_full = True
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, trail._disk._descriptor)
        os.close(full)


@asynccontextmanager
async def opened(
    folder: Path, *, place: Place | None = None, key: bytes | None = KEY, max_file_bytes: int = MAX_FILE_BYTES
) -> AsyncIterator[Trail]:
    trail = Trail(place or Place(folder), Seal(key), max_file_bytes=max_file_bytes)
    await trail.start()
    try:
        yield trail
    finally:
        await trail.close()


def submit(trail: Trail, number: int, *, is_kept: bool = True) -> Line:
    return trail.write(members({"kind": "result", "number": number}), is_kept=is_kept)


async def write(trail: Trail, numbers: Sequence[int], *, is_kept: bool = True) -> list[bool]:
    """Submit lines at once. Returns which of them were on disk when they were told."""
    return [*await asyncio.gather(*(submit(trail, number, is_kept=is_kept).on_disk for number in numbers))]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110  a disk sends no event
            await asyncio.sleep(0.05)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("audit-*.jsonl"))


def lines(folder: Path) -> list[dict[str, Any]]:
    """All whole lines, file by file."""
    texts = [text for file in files(folder) for text in file.read_bytes().splitlines(keepends=True)]
    return [orjson.loads(text) for text in texts if text.startswith(b"{") and text.endswith(b"\n")]


def numbers(folder: Path) -> list[int]:
    return [line["number"] for line in lines(folder) if "number" in line]


def verified(folder: Path, anchors: Anchors | None = None) -> Verified:
    """Verify a folder with one trail."""
    (found,) = verify(files(folder), keys_of(folder), anchors or {})
    return found


def keys_of(folder: Path) -> list[bytes]:
    """Return the key of a folder's trail, if it has one."""
    beginning = read_beginning(files(folder)[0].read_bytes().splitlines(keepends=True)[0])
    return [KEY] if beginning and beginning.key_id else []
