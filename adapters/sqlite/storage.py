"""The storage: one file, one writer, several readers, and a task that trims."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

import structlog

from adapters.sqlite.access import Access, Reader
from adapters.sqlite.check import find_damage
from adapters.sqlite.damage import KnownDamage, is_corruption
from adapters.sqlite.database import Database, open_database
from adapters.sqlite.event_log import SqliteEventLog
from adapters.sqlite.files import Loss
from adapters.sqlite.key_value_store import SqliteKeyValueStore
from adapters.sqlite.leases import SqliteLeases
from adapters.sqlite.writer import Writer
from gateway.aio.append_notifier import AppendNotifier
from gateway.aio.clock import wall_clock_ms
from gateway.errors import GatewayError, Reason
from gateway.ports import Damage, ReportProgress
from gateway.settings import EventLogSettings
from issuer.common.v1 import error_pb2

__all__ = ["SqliteStorage"]

_CHECK_SECONDS = 1.0
"""Interval between checks whether the files are in place."""

_log = structlog.get_logger(__name__)


class SqliteStorage:
    """An event log, a key-value store and leases in one SQLite file, owned by one process and one event loop.

    If one of the files is deleted, moved, replaced or truncated while open, every call fails until the process
    restarts: what is written to such a file would be lost.
    """

    def __init__(
        self,
        database: Database,
        retention: EventLogSettings | None,
        trim_interval_seconds: float,
        now_ms: Callable[[], int],
    ) -> None:
        """Take over a claimed database. Use `open`."""
        appends = AppendNotifier(database.bounds.last)
        self._database = database
        self._reader = Reader(database)
        self._writer = Writer(database, appends.reach, self._lose_file)
        self._trim_interval_seconds = trim_interval_seconds
        self._damage = KnownDamage()
        for error in database.damaged:
            self._damage.note(error)
        access = partial(Access, self._reader, self._writer, on_damage=self._note_damage)
        log_access = access("event log", error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE)
        self.log = SqliteEventLog(log_access, database, appends, retention, now_ms, self._damage)
        """The event log."""
        self.key_value_store = SqliteKeyValueStore(
            access("key-value store", error_pb2.ERROR_REASON_STORE_UNAVAILABLE), now_ms
        )
        """The key-value store."""
        self.leases = SqliteLeases(log_access, now_ms)
        """The leases of named subscriptions."""
        self._tasks = [asyncio.create_task(each) for each in (self._trim_regularly(), self._check_files_regularly())]
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        retention: EventLogSettings | None = None,
        trim_interval_seconds: float = 60.0,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> Self:
        """Open a storage, creating the file if needed. Close it with `close`.

        Args:
            path: The database file. SQLite adds two files beside it (``-wal``, ``-shm``), the storage one (``.lock``).
            retention: Retention of events by age and size; None keeps them for ever.
            trim_interval_seconds: Interval between removals of expired events and entries.
            now_ms: The clock that measures ages, in milliseconds since 1970 (UTC).

        Raises:
            EventLogOpenError: The folder or the file is not writable, another process has the file open, it has hard
                links, or this version cannot use it.
        """
        database = await asyncio.to_thread(open_database, Path(path))
        return cls(database, retention, trim_interval_seconds, now_ms)

    @property
    def commit_count(self) -> int:
        """Transactions committed since the storage was opened. Fewer than events: appends share them."""
        return self._writer.commit_count

    def size_bytes(self) -> int:
        """Return the disk space of the files.

        Raises:
            OSError: The database file is missing.
        """
        path = self._database.path
        wal = path.with_name(f"{path.name}-wal")
        return path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)

    def free_bytes(self) -> int:
        """Return the space that the files' disk has left for this process.

        Raises:
            OSError: The folder is missing.
        """
        disk = os.statvfs(self._database.path.parent)
        return disk.f_bavail * disk.f_frsize

    async def find_damage(self, report: ReportProgress | None = None) -> Damage:
        """Read everything, and return what is damaged. The progress is reported from another thread."""
        try:
            return await self._reader.run(partial(find_damage, report=report))
        except sqlite3.Error as error:
            return Damage((), (), [str(error)])

    async def renew_epoch(self) -> str:
        """Give the event log a new epoch, and return it."""
        return await self.log.renew_epoch()

    async def trim_through(self, sequence: int, report: ReportProgress | None = None) -> None:
        """Remove the events up to a sequence of the log."""
        await self.log.trim_through(sequence, report)

    async def close(self) -> None:
        """Finish the pending work, then release the files. Calls that wait for appends raise EVENT_LOG_UNAVAILABLE."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
            self._end("is closed")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._reader.close)
        await self._writer.close()
        # Last: SQLite cleans up the files when their last connection closes.
        await asyncio.to_thread(self._database.close)

    async def _trim_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._trim_interval_seconds)
            try:
                await self.log.trim()
                await self.key_value_store.trim()
            except GatewayError as error:
                _log.warning("event_log_not_trimmed", error=error.message)

    async def _check_files_regularly(self) -> None:
        # While nothing is appended, so that what was is saved in time.
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            self._writer.check_files()

    def _lose_file(self, loss: Loss) -> None:
        saved = (
            "everything stored before is in the database" if loss.is_saved else "the newest notifications may be lost"
        )
        advice = f"{saved}; find out who did it, put the file back if you have it, and restart the gateway"
        _log.critical("event_log_file_lost", path=loss.path, what=loss.what, is_saved=loss.is_saved, advice=advice)
        self._end(f"has lost a file, which {loss.what}: see event_log_file_lost in the log, and restart the gateway")

    def _note_damage(self, error: sqlite3.Error) -> None:
        self._damage.note(error)
        if is_corruption(error):
            # One event can be damaged alone. This is about where all others are found and stored.
            self._end(
                "is damaged: restore or recover its file, then restart the gateway",
                error_pb2.ERROR_REASON_EVENT_DAMAGED,
            )

    def _end(self, why: str, read_reason: "Reason | None" = None) -> None:
        self.log.end(why, read_reason)
        self.key_value_store.end(why)
