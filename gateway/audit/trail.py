"""The trail of a process: lines that wait for the disk, and what happens when it does not take them."""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Final

import structlog

from gateway.audit.disk import Batch, Disk, NewFile, Written
from gateway.audit.folder import FORMAT, End, Place
from gateway.audit.lines import Counts, Line, members, now
from gateway.audit.seal import ORIGIN, Link, Seal

__all__ = ["MAX_TORN_BYTES", "Trail"]

_MAX_BATCH: Final = 256
MAX_TORN_BYTES: Final = 1_048_576
"""More than the lines of a batch have, and so more than a crash can tear."""
_MAX_WAITING: Final = 10_000
_GATHER_SECONDS: Final = 0.002
"""How long lines gather after a batch of several. Each batch costs a sync and several hand-overs between two threads,
which is most of what the trail costs while many callers are there. Who is alone does not wait."""
_PATIENCE_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 1.0
_ANCHOR_SECONDS: Final = 60.0
_CLOSE_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _File:
    path: Path
    size: int
    identity: tuple[int, int] | None = None
    """Device and inode."""


@dataclass(slots=True)
class _InFlight:
    lines: list[Line]
    ends: list[tuple[int, Link]] = field(default_factory=list)
    """For each line, where it ends in the batch's text, and the link to it."""
    since: float = 0.0
    begun: tuple[Path, int, Link] | None = None
    """The file that begins with the batch: its path, the size of its first line, and the link to that."""


class Trail:
    """Writes lines, many with one write, and never blocks the event loop.

    If the disk fails, does not respond within two seconds, or takes a file away, the trail is unavailable. It tries
    again each second, with a new file: whatever happened to the old one, nothing is ever appended behind it.
    """

    def __init__(self, place: Place, seal: Seal, *, max_file_bytes: int) -> None:
        """Continue the place's trail.

        Args:
            place: The process's place in the folder.
            seal: Computes the chain.
            max_file_bytes: The size at which the next file begins.

        Raises:
            OSError: The newest file cannot be read.
        """
        self.counts = Counts()
        self._place = place
        self._seal = seal
        self._max_file_bytes = max_file_bytes
        end = place.end(seal)
        if end.is_damaged:
            _log.error("audit_trail_damaged", file=str(place.path(end.file)), advice="a new trail begins; see audit.md")
        if end.torn_bytes:
            _log.warning("audit_end_torn", file=str(place.path(end.file)), torn_bytes=end.torn_bytes)
        self._end = end if end.trail else End(token_hex(8), end.file, ORIGIN, 0, 0)
        self._reason = "start"
        self._file: _File | None = None
        self._failure = ""
        self._reported = Counts()
        self._anchored = 0
        self._waiting: deque[Line] = deque()
        self._in_flight: _InFlight | None = None
        self._is_ending = False
        self._settled = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._disk = Disk(place, self._settle)

    @property
    def failure(self) -> str:
        """Why the trail cannot be written; empty while it can."""
        return self._failure

    async def start(self) -> None:
        """Begin the first file, or find that the trail is unavailable."""
        self._later("anchor", _ANCHOR_SECONDS, self._anchor)
        self._send(begins_file=True)
        await self._settled.wait()

    def write(self, text: bytes, *, is_kept: bool) -> Line:
        """Submit a line.

        Args:
            text: Its members, as `members` makes them.
            is_kept: Whether it waits if the disk does not take it. If too many do, it is lost, and counted.
        """
        line = Line(text, is_kept, self._loop.create_future())
        if self._failure and not self._may_wait(line):
            line.on_disk.set_result(False)
            return line
        self._waiting.append(line)
        if self._failure:
            line.on_disk.set_result(False)
        elif len(self._waiting) == 1 and self._in_flight is None and "gather" not in self._timers:
            # At the end of this iteration of the loop, so that the batch includes its other lines.
            self._loop.call_soon(self._send)
        return line

    async def close(self) -> None:
        """Write what waits, and a last line that says that the trail ended here on purpose."""
        if not self._failure:
            self.write(members({"time": now(), "kind": "closed"}), is_kept=False)
        self._is_ending = True
        self._send()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self._in_flight is not None:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            _log.error("audit_not_closed", error=self._failure)
        for timer in self._timers.values():
            timer.cancel()
        self._lose(len(self._waiting))
        self._anchor_now()
        await self._disk.close(_PATIENCE_SECONDS)
        self._place.close()

    # ------------------------------------------------------------------------------------------------- one batch

    def _send(self, *, begins_file: bool = False) -> None:
        if self._in_flight is not None or not (self._waiting or begins_file):
            return
        self._look_for_file()
        lines = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_BATCH))]
        sent = self._in_flight = _InFlight(lines)
        link, new_file = self._end.link, None
        if self._file is None or self._file.size >= self._max_file_bytes:
            new_file, sent.begun = self._next_file()
            link = sent.begun[2]
        texts, size = [], 0
        for line in lines:
            text, link = self._seal.line(link, line.members)
            texts.append(text)
            size += len(text)
            sent.ends.append((size, link))
        sent.since = self._loop.time()
        if "patience" not in self._timers:
            self._later("patience", _PATIENCE_SECONDS, self._watch)
        self._disk.write(Batch(b"".join(texts), new_file))

    def _next_file(self) -> tuple[NewFile, tuple[Path, int, Link]]:
        end, number = self._end, self._end.file + 1
        facts = {
            "time": now(),
            "kind": "opened",
            "format": FORMAT,
            "trail": end.trail,
            "file": number,
            "reason": "rotation" if self._file is not None else self._reason,
            "seal": self._seal.name,
            "key": self._seal.key_id,
            "host": socket.gethostname(),
            "previous_bytes": end.whole_bytes,
            "torn_bytes": end.torn_bytes,
            "lost": self.counts.lost - self._reported.lost,
            "refused": self.counts.refused - self._reported.refused,
        }
        text, link = self._seal.line(end.link, members(facts))
        return NewFile(number, text), (self._place.path(number), len(text), link)

    def _settle(self, written: Written) -> None:
        sent, self._in_flight = self._in_flight, None
        if sent is None:
            raise RuntimeError("a batch ended that was never sent")
        if sent.begun is not None and written.has_begun:
            self._begin(*sent.begun)
        count = 0
        for line, (end, link) in zip(sent.lines, sent.ends, strict=True):
            if not written.has_begun or end > written.byte_count:
                break
            count += 1
            line.sequence = link.sequence
            if not line.on_disk.done():
                line.on_disk.set_result(True)
        if count:
            self._advance(*sent.ends[count - 1])
        if written.failure:
            self._fail(written.failure, sent.lines[count:], max(0, written.file_bytes - self._end.whole_bytes))
        else:
            self._recover()
        if not self._failure:
            if len(sent.lines) > 1 and not self._is_ending:
                self._later("gather", _GATHER_SECONDS, self._gathered)
            else:
                self._send()
        self._settled.set()

    def _gathered(self) -> None:
        del self._timers["gather"]
        self._send()

    def _begin(self, path: Path, size: int, link: Link) -> None:
        self._file = _File(path, size)
        self._end = End(self._end.trail, self._end.file + 1, link, size, 0)
        self._reported = Counts(lost=self.counts.lost, refused=self.counts.refused)
        self.counts.files += 1
        self.counts.lines += 1
        _log.info("audit_file_begun", file=str(path))
        # Its first line names what was before, so this holds for all of it.
        self._anchor_now()

    def _advance(self, size: int, link: Link) -> None:
        self.counts.lines += link.sequence - self._end.link.sequence
        whole = self._end.whole_bytes + size
        self._end = End(self._end.trail, self._end.file, link, whole, 0)
        if self._file is not None:
            self._file.size = whole

    # ----------------------------------------------------------------------------------------------- what fails

    def _fail(self, failure: str, lines: list[Line], left_bytes: int) -> None:
        if self._file is not None:
            self._end = End(self._end.trail, self._end.file, self._end.link, self._end.whole_bytes, left_bytes)
            self._file = None
            self._reason = "recovery"
        self._declare(failure)
        for line in lines:
            if not line.on_disk.done():
                line.on_disk.set_result(False)
        self._waiting.extendleft(line for line in reversed(lines) if line.is_kept)
        self._forsake()
        self._later("retry", _RETRY_SECONDS, partial(self._send, begins_file=True))

    def _declare(self, failure: str) -> None:
        if not self._failure:
            _log.error("audit_unavailable", error=failure)
        self._failure = failure

    def _forsake(self) -> None:
        """Release the calls that wait for a line that waits for the disk."""
        for line in self._waiting:
            if not line.on_disk.done():
                line.on_disk.set_result(False)
        self._waiting = deque(line for line in self._waiting if line.is_kept)
        if (excess := len(self._waiting) - _MAX_WAITING) > 0:
            self._waiting = deque(list(self._waiting)[:_MAX_WAITING])
            self._lose(excess)

    def _may_wait(self, line: Line) -> bool:
        if line.is_kept and len(self._waiting) >= _MAX_WAITING:
            self._lose(1)
            return False
        return line.is_kept

    def _lose(self, count: int) -> None:
        if count:
            self.counts.lost += count
            if self.counts.lost == count:
                _log.error("audit_lines_lost", lines=count, error=self._failure)

    def _watch(self) -> None:
        """Look, now and then, how long the batch in flight takes: a timer for each would cost more than a line."""
        del self._timers["patience"]
        if self._in_flight is None:
            return
        if (left := self._in_flight.since + _PATIENCE_SECONDS - self._loop.time()) > 0:
            self._later("patience", left, self._watch)
            return
        self._declare(f"no response within {_PATIENCE_SECONDS:g} s")
        for line in self._in_flight.lines:
            if not line.on_disk.done():
                line.on_disk.set_result(False)
        self._forsake()
        self._settled.set()

    def _recover(self) -> None:
        if self._failure:
            _log.info("audit_available", lost=self.counts.lost, refused=self.counts.refused)
            self._failure = ""

    def _look_for_file(self) -> None:
        """Notice that a file was removed, replaced or changed: what is appended to it would be no part of the trail."""
        file = self._file
        if file is None:
            return
        try:
            found = file.path.lstat()
        except OSError:
            found = None
        identity = None if found is None else (found.st_dev, found.st_ino)
        file.identity = file.identity or identity
        if found is not None and identity == file.identity and found.st_size == file.size:
            return
        is_same = found is not None and identity == file.identity
        self._reason = "altered" if is_same else "moved"
        torn = max(0, found.st_size - file.size) if found is not None and is_same else 0
        self._end = End(self._end.trail, self._end.file, self._end.link, self._end.whole_bytes, torn)
        self._file = None
        _log.error("audit_file_changed", file=str(file.path), how=self._reason)

    # ------------------------------------------------------------------------------------------------- anchors

    def _anchor(self) -> None:
        self._anchor_now()
        self._later("anchor", _ANCHOR_SECONDS, self._anchor)

    def _anchor_now(self) -> None:
        link = self._end.link
        if link.sequence != self._anchored:
            self._anchored = link.sequence
            _log.info("audit_anchor", trail=self._end.trail, sequence=link.sequence, hash=link.hash)

    def _later(self, name: str, seconds: float, what: Callable[[], None]) -> None:
        self._timers[name] = self._loop.call_later(seconds, what)
