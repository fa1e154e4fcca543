"""The thread that writes the trail: one batch at a time, on disk before its result is told."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread

from gateway.audit.folder import Place

__all__ = ["Batch", "Disk", "NewFile", "Written"]


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that begins with a batch."""

    number: int
    beginning: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What is written at once."""

    text: bytes
    new_file: NewFile | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch."""

    has_begun: bool
    """Whether its new file was made; True if it has none."""
    byte_count: int
    """Bytes of its text that are on disk."""
    file_bytes: int = 0
    """The size of the file after a failed write, which may have left more than is known to be on disk; else 0."""
    failure: str = ""
    """Why not all of it is; empty if it is."""


class Disk:
    """Writes batches in a thread. While it is at one, the caller gathers the next: so it is called once for many lines.

    A file is opened so that a write ends when it is on disk. The thread then waits once for the interpreter lock, not
    once more for a sync.
    """

    def __init__(self, place: Place, on_end: Callable[[Written], None]) -> None:
        """Start the thread.

        Args:
            place: Where files are made.
            on_end: Called on the running event loop after each batch.
        """
        self._place = place
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._descriptor = -1
        self._thread = Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def write(self, batch: Batch) -> None:
        """Write a batch. The one before it must have ended."""
        self._batches.put(batch)

    async def close(self, timeout_seconds: float) -> None:
        """End the thread, or leave it to the end of the process if the disk does not respond in time."""
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join, timeout_seconds)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            written = self._write(batch)
            with suppress(RuntimeError):  # The loop is closed: the disk did not respond in time.
                self._loop.call_soon_threadsafe(self._on_end, written)
        self._close()

    def _write(self, batch: Batch) -> Written:
        if batch.new_file is not None:
            try:
                self._close()
                self._descriptor = self._place.create(batch.new_file.number, batch.new_file.beginning)
            except OSError as error:
                return Written(has_begun=False, byte_count=0, failure=_words(error))
        count, file_bytes, failure = 0, 0, ""
        try:
            while count < len(batch.text):
                count += os.write(self._descriptor, batch.text[count:])
        except OSError as error:
            failure = _words(error)
            file_bytes = os.fstat(self._descriptor).st_size
        whole = batch.text.rfind(b"\n", 0, count) + 1
        return Written(has_begun=True, byte_count=whole, file_bytes=file_bytes, failure=failure)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _words(error: OSError) -> str:
    words = error.strerror or type(error).__name__
    return words if error.filename is None else f"{words}: {error.filename}"
