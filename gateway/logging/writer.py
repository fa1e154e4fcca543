"""Writes log lines in a thread, so that a reader that stops or goes away neither blocks nor fails the gateway."""

import atexit
import os
import time
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Final

import orjson

__all__ = ["LogWriter"]

_GATHER_SECONDS: Final = 0.02
_RETRY_SECONDS: Final = 0.05
_MAX_BATCH: Final = 1_000
_FLUSH_SECONDS: Final = 1.0


class LogWriter:
    """A file-like object that writes whole JSON lines from any thread to a file descriptor.

    A line that cannot be written is lost and counted; the next line that can be written follows a report of the loss.
    The thread starts with the first line. When the process ends, pending lines have a second to be written.

    The standard library's `QueueHandler` and `QueueListener` would double the cost of a line, formatting included:
    12 us here, 22 us with them, at 3,000 lines a second. And `QueueListener.stop` waits forever for a stopped reader.
    """

    def __init__(self, descriptor: int, *, max_waiting: int = 10_000) -> None:
        """Initialise.

        Args:
            descriptor: File descriptor to write to.
            max_waiting: Lines that may wait for the reader; further ones are lost.
        """
        self._descriptor = descriptor
        self._max_waiting = max_waiting
        self._waiting: SimpleQueue[bytes | Event] = SimpleQueue()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._lost_count = 0
        self._reported_count = 0
        self._is_torn = False

    @property
    def lost_count(self) -> int:
        """Number of lost lines."""
        return self._lost_count

    def write(self, line: bytes) -> None:
        """Queue a line, which includes its line ending. Never blocks and never fails."""
        if self._waiting.qsize() >= self._max_waiting:
            self._lose(1)
            return
        self._waiting.put(line)
        if self._thread is None:
            self._start()

    def flush(self) -> None:
        """Do nothing: the thread writes without delay."""

    def finish(self) -> None:
        """Wait until all queued lines are written, for a second at most."""
        if self._thread is not None:
            done = Event()
            self._waiting.put(done)
            done.wait(_FLUSH_SECONDS)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
                atexit.register(self.finish)

    def _lose(self, count: int) -> None:
        with self._lock:
            self._lost_count += count

    def _run(self) -> None:
        while True:
            batch = [self._waiting.get()]
            # More lines usually follow soon, and waking the thread is the expensive part.
            time.sleep(_GATHER_SECONDS)
            batch += [self._waiting.get() for _ in range(min(self._waiting.qsize(), _MAX_BATCH))]
            self._write_all([each for each in batch if isinstance(each, bytes)])
            for each in batch:
                if isinstance(each, Event):
                    each.set()

    def _write_all(self, lines: list[bytes]) -> None:
        lost_count = self._lost_count
        report = _report(lost_count - self._reported_count, is_torn=self._is_torn)
        text = b"".join((report, *lines))
        rest = self._write_some(text)
        written = text.removesuffix(rest)
        if written:
            self._is_torn = not written.endswith(b"\n")
        if len(written) >= len(report):
            self._reported_count = lost_count
        self._lose(min(len(lines), rest.count(b"\n")))

    def _write_some(self, text: bytes) -> bytes:
        """Write, and return what could not be written."""
        while text:
            try:
                text = text[os.write(self._descriptor, text) :]
            except BlockingIOError:
                # Another process that shares the pipe has made it non-blocking; this thread can wait.
                time.sleep(_RETRY_SECONDS)
            except OSError:
                break
        return text


def _report(lost_count: int, *, is_torn: bool) -> bytes:
    if not lost_count:
        return b""
    line = {"event": "log_lines_lost", "lines": lost_count, "level": "error", "timestamp": datetime.now(UTC)}
    end_of_torn = b"\n" if is_torn else b""
    return end_of_torn + orjson.dumps(line, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
