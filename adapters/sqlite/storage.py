"""The storage as a whole: one file, one writer, some readers, and a task that trims."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import structlog

from adapters.sqlite.access import Access
from adapters.sqlite.database import Database, open_database
from adapters.sqlite.leases import SqliteLeases
from adapters.sqlite.log import SqliteEventLog
from adapters.sqlite.reader import Reader
from adapters.sqlite.store import SqliteKeyValueStore
from adapters.sqlite.writer import Writer
from gateway.aio.append_notifier import AppendNotifier
from gateway.errors import GatewayError
from gateway.settings import EventLogSettings
from issuer.common.v1 import error_pb2

__all__ = ["SqliteStorage"]

_logger = structlog.get_logger(__name__)


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class SqliteStorage:
    """An event log and a key-value store in one SQLite file, owned by one process and used on one event loop.

    If the file is deleted, moved or replaced meanwhile, nothing is acknowledged any more and every call fails until
    the process is started again: what is written to such a file would be lost.
    """

    def __init__(
        self,
        database: Database,
        retention: EventLogSettings | None,
        trim_interval_seconds: float,
        now_ms: Callable[[], int],
    ) -> None:
        """Take over a claimed database. Use `open`."""
        growth = AppendNotifier(database.bounds.last)
        self._database = database
        self._reader = Reader(database)
        self._writer = Writer(database, growth.reach, self._lose_file)
        self._trim_interval_seconds = trim_interval_seconds
        log_access = Access(self._reader, self._writer, "event log", error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE)
        self.log = SqliteEventLog(log_access, database, growth, retention, now_ms)
        """The event log."""
        entry_access = Access(self._reader, self._writer, "key-value store", error_pb2.ERROR_REASON_STORE_UNAVAILABLE)
        self.key_value_store = SqliteKeyValueStore(entry_access, now_ms)
        """The key-value store."""
        self.leases = SqliteLeases(log_access, now_ms)
        """Who watches named subscriptions."""
        self._trimming = asyncio.create_task(self._trim_regularly())
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        retention: EventLogSettings | None = None,
        trim_interval_seconds: float = 60.0,
        now_ms: Callable[[], int] = _wall_clock_ms,
    ) -> Self:
        """Open a storage, made now if the file does not exist. Close it with `close`.

        Args:
            path: The database file. SQLite keeps two more beside it (``-wal``, ``-shm``), the storage one (``.lock``).
            retention: How long events are kept; None for ever.
            trim_interval_seconds: How often is looked for events and entries to remove.
            now_ms: The clock that ages are measured with, in milliseconds since 1970 (UTC).

        Raises:
            EventLogOpenError: The folder or the file cannot be written, another process has the file open, it has hard
                links, or it is not one that this version can use.
        """
        database = await asyncio.to_thread(open_database, Path(path))
        return cls(database, retention, trim_interval_seconds, now_ms)

    @property
    def commit_count(self) -> int:
        """How many transactions were committed since it was opened: with the number of events, how well they share."""
        return self._writer.commit_count

    def size_bytes(self) -> int:
        """Tell how much disk the files take.

        Raises:
            OSError: The database's file is not there.
        """
        path = self._database.path
        log = path.with_name(f"{path.name}-wal")
        return path.stat().st_size + (log.stat().st_size if log.exists() else 0)

    async def close(self) -> None:
        """Finish what was begun, then release the files. Whoever waits for growth gets EVENT_LOG_UNAVAILABLE."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
            self._end("is closed")
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._trimming.cancel()
        await asyncio.gather(self._trimming, return_exceptions=True)
        # The writer last: it tidies up the files if nobody else has them open.
        await asyncio.to_thread(self._reader.close)
        await self._writer.close()
        self._database.lock.close()

    async def _trim_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._trim_interval_seconds)
            try:
                await self.log.trim()
                await self.key_value_store.trim()
            except GatewayError as error:
                _logger.warning("event_log_not_trimmed", error=error.message)

    def _lose_file(self) -> None:
        _logger.critical("event_log_file_lost", path=str(self._database.path))
        self._end("has lost its file, which was deleted, moved or replaced; it works again after a restart")

    def _end(self, why: str) -> None:
        self.log.end(why)
        self.key_value_store.end(why)
