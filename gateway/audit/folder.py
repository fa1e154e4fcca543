"""The folder of trails: one for each process that writes there at a time, each a series of numbered files."""

import fcntl
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from errno import EACCES, EBUSY, EEXIST, ENOSPC
from pathlib import Path
from stat import S_ISREG, S_IWOTH
from typing import Any, Final

import orjson

from gateway.audit.seal import MAX_LINE_BYTES, ORIGIN, Link, Seal, SealedLine, read_line

__all__ = ["Beginning", "End", "Place", "check_folder", "read_beginning"]

FORMAT: Final = 1
"""The version of the lines' format, which the first line of each file names."""

_NAME: Final = re.compile(r"audit-([1-9][0-9]{0,2})-([0-9]{8})\.jsonl")
_MAX_PLACES: Final = 64
_MODE: Final = 0o600
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DSYNC
_LOCK_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_TAIL_BYTES: Final = 2_097_152
"""At a start, so much of the newest file is read. Only what a crash tore can be unreadable there: one batch."""


def check_folder(folder: Path) -> None:
    """Check that files can be made in a folder, and that others cannot.

    Raises:
        OSError: They cannot.
        ValueError: Others can.
    """
    mode = folder.stat().st_mode
    if mode & S_IWOTH:
        raise ValueError(f"everybody can write into {folder}: run chmod o-w on it")
    if not os.access(folder, os.W_OK | os.X_OK | os.R_OK):
        raise PermissionError(EACCES, os.strerror(EACCES), str(folder))


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the first line of a file says."""

    line: SealedLine
    facts: dict[str, Any]

    @property
    def trail(self) -> str:
        """The id of its trail."""
        return str(self.facts["trail"])

    @property
    def file(self) -> int:
        """Its number in the trail, from 1."""
        return int(self.facts["file"])

    @property
    def key_id(self) -> str:
        """The id of the key that seals its lines; empty if they are chained with SHA-256."""
        return str(self.facts["key"] or "")


def read_beginning(line: bytes) -> Beginning | None:
    """Read the first line of a file; None if it is not one."""
    sealed = read_line(line)
    if sealed is None:
        return None
    try:
        facts = orjson.loads(line)
    except ValueError:
        return None
    expected = {"trail": str, "file": int, "previous_bytes": int, "torn_bytes": int, "lost": int, "reason": str}
    if facts.get("kind") != "opened" or not all(isinstance(facts.get(name), kind) for name, kind in expected.items()):
        return None
    is_known = facts.get("format") == FORMAT and "key" in facts and facts["trail"]
    return Beginning(sealed, facts) if is_known else None


@dataclass(frozen=True, slots=True)
class End:
    """The end of a trail, to which its next file is linked."""

    trail: str
    """The trail's id; empty if there is none to continue."""
    file: int
    """The number of the newest file in the folder; 0 if there is none."""
    link: Link
    whole_bytes: int
    """The size of that file up to the end of its last whole line."""
    torn_bytes: int
    """What comes after that: a write that a crash interrupted."""
    is_damaged: bool = False
    """Whether no end of a trail was found in that file."""


class Place:
    """The place of one writer in a folder: its lock, and the names of its files.

    Processes with the same settings take places in turn: 1, 2, 3. A process that starts again finds the place of the
    one before it, and continues that trail.
    """

    def __init__(self, folder: Path) -> None:
        """Take the first free place.

        Raises:
            OSError: There is none, or the lock cannot be made.
        """
        self._folder = folder
        self._lock, self.number = _lock(folder)

    def path(self, number: int) -> Path:
        """Return the path of a file by its number."""
        return self._folder / f"audit-{self.number}-{number:08}.jsonl"

    def end(self, seal: Seal) -> End:
        """Return the end of the place's newest trail.

        Raises:
            OSError: The newest file cannot be read.
        """
        matches = [_NAME.fullmatch(entry.name) for entry in self._folder.iterdir()]
        newest = max((int(match[2]) for match in matches if match and int(match[1]) == self.number), default=0)
        return _end(self.path(newest), newest, seal) if newest else End("", 0, ORIGIN, 0, 0)

    def create(self, number: int, beginning: bytes) -> int:
        """Make a file that begins with a line. Returns its descriptor: what is written to it is on disk at once.

        It has its name only once its first line is on disk.

        Raises:
            OSError: It cannot be made, or there is one of that name.
        """
        path = self.path(number)
        if path.exists():
            raise FileExistsError(EEXIST, os.strerror(EEXIST), str(path))
        unnamed = path.with_suffix(".new")
        unnamed.unlink(missing_ok=True)
        descriptor = os.open(unnamed, _FLAGS, _MODE)
        try:
            _write(descriptor, beginning)
            unnamed.rename(path)
            _sync(self._folder)
        except BaseException:
            os.close(descriptor)
            for each in (unnamed, path):
                with suppress(OSError):
                    each.unlink()
            raise
        return descriptor

    def close(self) -> None:
        """Leave the place to the next process."""
        os.close(self._lock)


def _lock(folder: Path) -> tuple[int, int]:
    for number in range(1, _MAX_PLACES + 1):
        descriptor = os.open(folder / f"audit-{number}.lock", _LOCK_FLAGS, _MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        else:
            return descriptor, number
    raise OSError(EBUSY, f"{_MAX_PLACES} processes write there already", str(folder))


def _write(descriptor: int, line: bytes) -> None:
    if os.write(descriptor, line) < len(line):
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _end(path: Path, number: int, seal: Seal) -> End:
    status = path.stat()
    if not S_ISREG(status.st_mode):
        # The gateway makes none: a pipe would hold up the start, a device fill the memory.
        return End("", number, ORIGIN, 0, 0, is_damaged=True)
    size = status.st_size
    with path.open("rb") as file:
        beginning = read_beginning(file.readline(MAX_LINE_BYTES))
        start = max(0, size - _TAIL_BYTES)
        file.seek(start)
        # The first one is not whole if the reading starts within it.
        lines = file.read().splitlines(keepends=True)[1 if start else 0 :]
    if beginning is None:
        return End("", number, ORIGIN, 0, 0, is_damaged=True)
    # Lines of another key cannot be checked, but are a chain all the same.
    is_ours = beginning.key_id == seal.key_id
    last: SealedLine | None = None
    rest = sum(map(len, lines))
    for text in lines:
        line = read_line(text)
        is_next = line is not None and (not is_ours or seal.holds(line)) and (last is None or line.follows(last.link))
        if is_next:
            last = line
        elif last is not None:
            break
        rest -= len(text)
    if last is None:
        return End("", number, ORIGIN, 0, 0, is_damaged=True)
    return End(beginning.trail, number, last.link, size - rest, rest)
