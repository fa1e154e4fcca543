"""The cards of a backfill: those of a list, and which of them are done, so that a second run resumes."""

import json
import os
import re
import stat
import sys
from collections.abc import Iterable
from datetime import datetime
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, Self

__all__ = ["State", "UnusableCardsError", "UnusableStateError", "read_cards"]

_CARD_ID: Final = re.compile(rb"[A-Za-z0-9_-]{1,48}")
"""The form that the contract demands."""
_DONE: Final = re.compile(r"([A-Za-z0-9_-]{1,48}) ([0-9]{1,9})")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_FORMAT: Final = 1
_BEGIN: Final = b'{"backfill": '
_BEGIN_ANEW: Final = ": delete it to begin anew, or"
_NO_STATE: Final = f"is not the state of a backfill{_BEGIN_ANEW}"
_OWNER_ONLY: Final = 0o600


class UnusableCardsError(Exception):
    """Lines of a list are no card ids."""

    def __init__(self, line_numbers: list[int]) -> None:
        super().__init__(line_numbers)
        self.line_numbers = line_numbers


class UnusableStateError(Exception):
    """A state file cannot be used; the text says why, without its name, and what else to do than to name another."""


def read_cards(document: bytes) -> list[str]:
    """Return the card ids of a list, each once: one on a line, with comments from ``#`` on.

    Raises:
        UnusableCardsError: Lines are no card ids. Their content is not repeated: it may be card numbers.
    """
    cards: dict[str, None] = {}
    wrong = []
    for number, line in enumerate(document.removeprefix(_BYTE_ORDER_MARK).splitlines(), start=1):
        card_id = line.partition(b"#")[0].strip()
        if _CARD_ID.fullmatch(card_id):
            cards[card_id.decode()] = None
        elif card_id:
            wrong.append(number)
    if wrong:
        raise UnusableCardsError(wrong)
    return [*cards]


class State:
    """What a backfill has done, in a file or in memory.

    A line is written as each card is done. Whatever ends the command, the next one resumes after the last whole line.
    Use it as a context manager.
    """

    def __init__(self, since_time: datetime, file: FileIO | None = None, path: Path | None = None) -> None:
        """Begin in memory; `open` begins or resumes in a file."""
        self.since_time = since_time
        """The time of the oldest operations to fetch: that of the first run."""
        self.done: dict[str, int] = {}
        """The number of recovered notifications of each card that earlier runs have done."""
        self._file = file
        self._path = path

    @classmethod
    def open(cls, path: Path, since: str, since_time: datetime, issuer_id: str) -> Self:
        """Resume the backfill that a file knows, or begin one.

        Args:
            path: The file. Another command cannot use it at the same time.
            since: How long ago the oldest operations are, as given.
            since_time: The same as a time, if this is the first run.
            issuer_id: The issuer, as given.

        Raises:
            UnusableStateError: The file is another backfill's, is none, is damaged, in use, or not a regular file.
            OSError: It cannot be read or written.
        """
        # Without a buffer: a full disk would fail once more when the file is closed.
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, _OWNER_ONLY), "r+b", buffering=0)
        try:
            _expect_regular(file)
            _lock(file)
            state = cls(since_time, file, path)
            state._read(file, since, issuer_id)
        except BaseException:
            file.close()
            raise
        return state

    def add(self, card_id: str, recovered_count: int) -> None:
        """Write that a card is done.

        Raises:
            OSError: The file cannot be written.
        """
        self._write(f"{card_id} {recovered_count}")

    def remove(self) -> None:
        """Remove the file: there is nothing to resume.

        Raises:
            OSError: It cannot be removed.
        """
        if self._file is not None and self._path is not None:
            self._file.close()
            self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def _read(self, file: FileIO, since: str, issuer_id: str) -> None:
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if whole:
            self._resume(whole.decode(errors="replace").splitlines(), since, issuer_id)
        elif not (content.startswith(_BEGIN) or _BEGIN.startswith(content)):
            raise UnusableStateError(_NO_STATE)
        # Over what a crash has left of the last line.
        file.seek(len(whole))
        if not whole:
            header = {"issuer_id": issuer_id, "since": since, "since_time": self.since_time.isoformat()}
            self._write(json.dumps({"backfill": _FORMAT, **header}))

    def _resume(self, lines: Iterable[str], since: str, issuer_id: str) -> None:
        header, *done = lines
        try:
            begun = json.loads(header)
            about = begun["backfill"], begun["issuer_id"], begun["since"]
            self.since_time = _time(begun["since_time"])
        except (ValueError, TypeError, KeyError):
            raise UnusableStateError(_NO_STATE) from None
        if about != (_FORMAT, issuer_id, since):
            why = "is the state of another backfill, as --since, --issuer or the version differs"
            raise UnusableStateError(f"{why}{_BEGIN_ANEW}")
        for line in done:
            match = _DONE.fullmatch(line)
            if match is None:
                raise UnusableStateError(f"is damaged{_BEGIN_ANEW}")
            self.done[match[1]] = int(match[2])

    def _write(self, line: str) -> None:
        if self._file is not None:
            content = f"{line}\n".encode()
            while content:
                # A disk that gets full takes a part of it, and says so only to the next.
                content = content[self._file.write(content) :]


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time


def _expect_regular(file: FileIO) -> None:
    """Refuse a device, which would be removed at the end: for root, /dev/null too."""
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise UnusableStateError("is not a regular file:")


def _lock(file: FileIO) -> None:
    """Lock a file until it is closed."""
    if sys.platform != "win32":
        import fcntl  # noqa: PLC0415 (not everywhere)

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnusableStateError("is in use by another backfill: wait for its end, or") from None
