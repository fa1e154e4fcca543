"""Writes lines in a thread of its own: a reader that stops reading, or goes away, holds nobody up and fails nobody."""

import atexit
import os
import time
from contextlib import suppress
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Final

import orjson

__all__ = ["LineWriter"]

_GATHER_SECONDS: Final = 0.02
_RETRY_SECONDS: Final = 0.05
_MOST_AT_ONCE: Final = 1_000
_FLUSH_SECONDS: Final = 1.0


class LineWriter:
    """The way to a file descriptor, as a file to whoever writes whole lines of JSON, from any thread.

    A line that cannot be written is lost and counted, and a line of our own tells of those before it as soon as one can
    be written again. The thread begins with the first line; what waits when the process ends has a second.
    """

    def __init__(self, descriptor: int, *, most_waiting: int = 10_000) -> None:
        """Prepare.

        Args:
            descriptor: Where the lines go.
            most_waiting: How many lines may wait for a reader; further ones are lost.
        """
        self._descriptor = descriptor
        self._most_waiting = most_waiting
        self._waiting: SimpleQueue[bytes | Event] = SimpleQueue()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._lost_count = 0
        self._told_count = 0
        self._is_torn = False

    @property
    def lost_count(self) -> int:
        """How many lines were lost."""
        return self._lost_count

    def write(self, line: bytes) -> None:
        """Have a line written, its end included. Never waits, and never fails."""
        if self._waiting.qsize() >= self._most_waiting:
            self._lose(1)
            return
        self._waiting.put(line)
        if self._thread is None:
            self._begin()

    def flush(self) -> None:
        """Do nothing: lines go out by themselves."""

    def finish(self) -> None:
        """Wait until what waits now is written, but no longer than a second."""
        if self._thread is not None:
            done = Event()
            self._waiting.put(done)
            done.wait(_FLUSH_SECONDS)

    def _begin(self) -> None:
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
            taken = [self._waiting.get()]
            if not isinstance(taken[0], Event):
                # Where there is one there are soon more, and it is the wakening that costs.
                time.sleep(_GATHER_SECONDS)
            with suppress(Empty):
                while len(taken) < _MOST_AT_ONCE:
                    taken.append(self._waiting.get_nowait())
            self._write_all([each for each in taken if isinstance(each, bytes)])
            for each in taken:
                if isinstance(each, Event):
                    each.set()

    def _write_all(self, lines: list[bytes]) -> None:
        if not lines:
            return
        lost_count = self._lost_count
        told = [] if lost_count == self._told_count else [_loss(lost_count - self._told_count)]
        text = b"".join([b"\n" if self._is_torn else b"", *told, *lines])
        written = self._write_some(text)
        if written == len(text):
            self._told_count, self._is_torn = lost_count, False
            return
        self._is_torn = self._is_torn if written == 0 else text[written - 1 : written] != b"\n"
        self._lose(min(len(lines), text.count(b"\n", written)))

    def _write_some(self, text: bytes) -> int:
        rest = memoryview(text)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                # Somebody else who has the same pipe does not want to wait. Here there is time.
                time.sleep(_RETRY_SECONDS)
            except OSError:
                break
        return len(text) - len(rest)


def _loss(count: int) -> bytes:
    told = {"event": "log lines lost", "lines": count, "level": "error", "timestamp": datetime.now(UTC)}
    return orjson.dumps(told, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
