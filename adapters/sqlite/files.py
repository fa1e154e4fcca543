"""The files of an open database: whether a restart would find again what is written to them.

SQLite notices none of this: it goes on writing to a file that has lost its name, or behind a hole that it takes for its
own earlier frames.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Files", "Loss", "sync_folder"]

_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
"""Sizes in the write-ahead log; https://sqlite.org/fileformat2.html#the_write_ahead_log."""
_SALTS_IN_HEADER: Final = slice(16, 24)
_SALTS_IN_FRAME: Final = slice(8, 16)
_NO_MAGIC: Final = bytes(4)


class Loss(NamedTuple):
    """What has happened to a file."""

    path: str
    """The file."""
    what: str
    """What happened to it, after "its file, which"."""
    is_saved: bool = False
    """Whether the database holds all that was ever committed, so that a restart loses nothing."""


class Files:
    """The database, its write-ahead log and its shared memory, as they were when it was opened.

    The write-ahead log keeps its identity because two connections stay open: SQLite removes it with the last one.
    """

    def __init__(self, named: Path, path: Path) -> None:
        """Keep connections open, and note the files.

        Args:
            named: The path in the settings.
            path: The same without symbolic links.

        Raises:
            OSError: A file is missing.
            sqlite3.Error: The storage is not usable.
        """
        self.path = path
        """The database, without symbolic links."""
        self._named = named
        self._database = os.fspath(path)
        self._wal = f"{path}-wal"
        self._shared_memory = f"{path}-shm"
        self._keeper = _connect(path, "rw")
        # Closed last after a loss: SQLite copies the write-ahead log into the database when the last connection closes,
        # but not through one that only reads.
        self._blocker = _connect(path, "ro")
        self._identities = {
            each: _identity(os.lstat(each)) for each in (self._database, self._wal, self._shared_memory)
        }
        # The locks of SQLite are on the other two files, so closing this one releases none.
        self._wal_file = os.open(self._wal, os.O_RDONLY | os.O_CLOEXEC)
        # As large as they are when they are looked at first.
        self._wal_bytes = self._database_bytes = 0
        self._is_cut = False

    def find_loss(self) -> Loss | None:
        """Return what was deleted, moved, replaced or truncated; None if all files are in place.

        To be called before and after each transaction: after one into a truncated file, that has its size again. The
        lookup of paths in use does not wait for the disk.
        """
        try:
            if self._named != self.path and _identity(self._named.stat()) != self._identities[self._database]:
                return self._saved(str(self._named), "leads elsewhere")
        except OSError:
            return self._saved(str(self._named), "leads nowhere")
        sizes = []
        for path, identity in self._identities.items():
            try:
                found = os.lstat(path)
            except OSError:
                return self._saved(path, "was deleted or moved")
            if _identity(found) != identity:
                return self._saved(path, "was replaced")
            sizes.append(found.st_size)
        database_bytes, wal_bytes, _ = sizes
        return self._find_truncation(database_bytes, wal_bytes)

    def is_in_place(self) -> bool:
        """Return whether the path still leads to the database."""
        try:
            return _identity(os.lstat(self._database)) == self._identities[self._database]
        except OSError:
            return False

    def close(self) -> None:
        """Close the connections, after all others but the writer's. Blocks."""
        os.close(self._wal_file)
        connections = (self._keeper, self._blocker) if self._is_cut else (self._blocker, self._keeper)
        for connection in connections:
            connection.close()

    def _find_truncation(self, database_bytes: int, wal_bytes: int) -> Loss | None:
        try:
            path = self._truncated(database_bytes, wal_bytes)
        except (sqlite3.Error, OSError):
            path = self._wal
        if path is None:
            return None
        self._is_cut = True
        return Loss(path, "was truncated")

    def _truncated(self, database_bytes: int, wal_bytes: int) -> str | None:
        if wal_bytes and os.pread(self._wal_file, len(_NO_MAGIC), 0) == _NO_MAGIC:
            return self._wal
        has_shrunk = database_bytes < self._database_bytes
        if not has_shrunk and wal_bytes >= self._wal_bytes:
            self._database_bytes, self._wal_bytes = database_bytes, wal_bytes
            return None
        # Other programs may shrink files too, by VACUUM, or a checkpoint that truncates. Then SQLite knows.
        page_bytes, pages = (_number(self._keeper, f"PRAGMA {name}") for name in ("page_size", "page_count"))
        if has_shrunk and self._lacks_pages(database_bytes, page_bytes, pages):
            return self._database
        busy, frames, copied = self._keeper.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        is_copied = not busy and frames == copied
        # The lower count, because other transactions may have added or removed pages meanwhile.
        pages = min(pages, _number(self._keeper, "PRAGMA page_count"))
        if has_shrunk and is_copied and os.lstat(self._database).st_size < page_bytes * pages:
            return self._database
        # It may have grown since its size was found, or another program may have truncated it since the checkpoint.
        largest_bytes = max(wal_bytes, os.fstat(self._wal_file).st_size)
        if frames > 0 and largest_bytes < _HEADER_BYTES + frames * (_FRAME_HEADER_BYTES + page_bytes):
            return self._wal
        if is_copied:  # Otherwise the question is put again next time.
            self._database_bytes, self._wal_bytes = database_bytes, wal_bytes
        return None

    def _lacks_pages(self, database_bytes: int, page_bytes: int, pages: int) -> bool:
        """Return whether a page behind the end of the database is not in the write-ahead log either."""
        behind = range(database_bytes // page_bytes + 1, pages + 1)
        logged = set(self._logged_pages(page_bytes)) if behind else set()
        # If a checkpoint has changed the size meanwhile, the pages were in the log before.
        return any(page not in logged for page in behind) and os.lstat(self._database).st_size == database_bytes

    def _logged_pages(self, page_bytes: int) -> Iterator[int]:
        salts = os.pread(self._wal_file, _HEADER_BYTES, 0)[_SALTS_IN_HEADER]
        offset = _HEADER_BYTES
        # Frames from before the log began anew have other salts.
        while (frame := os.pread(self._wal_file, _FRAME_HEADER_BYTES, offset)) and frame[_SALTS_IN_FRAME] == salts:
            yield int.from_bytes(frame[:4], "big")
            offset += _FRAME_HEADER_BYTES + page_bytes

    def _saved(self, path: str, what: str) -> Loss:
        """Copy the write-ahead log into the database while it can still be read, since a restart may not find it."""
        is_saved = False
        with suppress(sqlite3.Error):
            busy, frames, copied = self._keeper.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            is_saved = not busy and frames == copied and self.is_in_place()
        return Loss(path, what, is_saved)


def sync_folder(folder: Path) -> None:
    """Write to disk which names a folder has. Blocks.

    Raises:
        OSError: The disk fails.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # Used by one thread at a time: that of the event loop, and at the end the one that closes.
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}", uri=True, timeout=0, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        # SQLite opens the files when they are first needed.
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _number(connection: sqlite3.Connection, statement: str) -> int:
    number: int = connection.execute(statement).fetchone()[0]
    return number


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
