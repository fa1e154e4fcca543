"""Writes lines in a thread of its own: a reader that stops reading, or goes away, holds nobody up and fails nobody."""

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
    """The way to a file descriptor, as a file that takes whole lines of JSON from any thread.

    A line that cannot be written is lost and counted, and the next line that can be written follows one that says how
    many were lost. The thread starts with the first line; what waits when the process ends has a second.

    The standard library's `QueueHandler` and `QueueListener` would double what a line costs, its making included: 12 us
    here, 22 us with them, at 3,000 lines a second. And `QueueListener.stop` waits for a stopped reader without end.
    """

    def __init__(self, descriptor: int, *, max_waiting: int = 10_000) -> None:
        """Prepare.

        Args:
            descriptor: Where the lines go.
            max_waiting: How many lines may wait for a reader; further ones are lost.
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
        """How many lines are lost."""
        return self._lost_count

    def write(self, line: bytes) -> None:
        """Have a line written, its end included. Never waits, and never fails."""
        if self._waiting.qsize() >= self._max_waiting:
            self._lose(1)
            return
        self._waiting.put(line)
        if self._thread is None:
            self._start()

    def flush(self) -> None:
        """Do nothing: lines go out by themselves."""

    def finish(self) -> None:
        """Wait until what waits now is written, but no longer than a second."""
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
            # Where there is one there are soon more, and it is the wakening that costs.
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
                # Another process that shares the pipe does not want to wait. Here there is time.
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
