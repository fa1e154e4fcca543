"""The event log: one writer, some readers, and a task that trims."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import structlog

from adapters.sqlite import events, subscriptions
from adapters.sqlite.database import Database, open_database
from adapters.sqlite.failure import closed
from adapters.sqlite.growth import Growth
from adapters.sqlite.reader import Reader
from adapters.sqlite.retention import Retention, trim_some
from adapters.sqlite.writer import Writer
from gateway.errors import GatewayError
from gateway.ports import Event, LogBounds, StoredEvent, StoredSubscription

__all__ = ["SqliteEventLog"]

_logger = structlog.get_logger(__name__)


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class SqliteEventLog:
    """A `gateway.ports.EventLog` in one SQLite file, owned by one process and used on one event loop.

    A duplicate is recognised as long as the log holds the first event; what retention removed is forgotten.
    """

    def __init__(
        self, database: Database, retention: Retention, trim_interval_seconds: float, now_ms: Callable[[], int]
    ) -> None:
        """Take over a claimed database. Use `open`."""
        self._database = database
        self._retention = retention
        self._trim_interval_seconds = trim_interval_seconds
        self._now_ms = now_ms
        self._growth = Growth(database.bounds.last)
        self._trimmed_through = database.bounds.trimmed_through
        self._reader = Reader(database.path)
        self._writer = Writer(database.path, self._growth.reach)
        self._trimming = asyncio.create_task(self._trim_regularly())
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        retention: Retention = Retention(),  # noqa: B008  frozen
        trim_interval_seconds: float = 60.0,
        now_ms: Callable[[], int] = _wall_clock_ms,
    ) -> Self:
        """Open an event log, made now if the file does not exist. Close it with `close`.

        Args:
            path: The database file. SQLite keeps two more beside it (``-wal``, ``-shm``), the log one (``.lock``).
            retention: When events are removed. By default they are kept for ever.
            trim_interval_seconds: How often is looked for events to remove.
            now_ms: The clock that the age of events is measured with, in milliseconds since 1970 (UTC).

        Raises:
            EventLogOpenError: The folder or the file cannot be written, another process has the log open, or the file
                is not an event log that this version can use.
        """
        database = await asyncio.to_thread(open_database, Path(path))
        return cls(database, retention, trim_interval_seconds, now_ms)

    @property
    def log_id(self) -> str:
        """The identity of this log, made with it: 8 lower-case hexadecimal digits."""
        return self._database.log_id

    @property
    def commit_count(self) -> int:
        """How many transactions were committed since it was opened: with the number of events, how well they share."""
        return self._writer.commit_count

    async def close(self) -> None:
        """Finish what was begun, then release the files. Whoever waits for growth gets EVENT_LOG_UNAVAILABLE."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def append(self, event: Event) -> bool:
        """Store an event; when this returns, it is on disk. Returns whether it is new.

        A caller that is cancelled does not know: the event may be stored all the same.
        """
        self._check_open()
        return await self._writer.append(event)

    async def read(self, after: int, limit: int) -> Sequence[StoredEvent]:
        """Read at most ``limit`` events after a sequence, in order; none if there are none, fewer where they are large.

        Retention may remove events between two calls: look at `bounds` after reading, not before.
        """
        self._check_open()
        return await self._reader.run(partial(events.read, after=after, limit=limit))

    async def bounds(self) -> LogBounds:
        """Tell what the log holds."""
        self._check_open()
        return LogBounds(self._trimmed_through, self._growth.last)

    async def sequence_before(self, receive_time_ms: int) -> int:
        """Tell after which sequence to read to begin with the first event taken at that time or later."""
        self._check_open()
        return await self._reader.run(partial(events.sequence_before, receive_time_ms=receive_time_ms))

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until the log holds an event after that sequence. Returns at once if it does."""
        self._check_open()
        await self._growth.wait_beyond(sequence)

    async def get_subscription(self, issuer_id: str, name: str) -> StoredSubscription | None:
        """Get a subscription; None if there is none."""
        self._check_open()
        return await self._reader.run(partial(subscriptions.find, issuer_id=issuer_id, name=name))

    async def list_subscriptions(self, issuer_id: str) -> Sequence[StoredSubscription]:
        """List an issuer's subscriptions by name."""
        self._check_open()
        return await self._reader.run(partial(subscriptions.list_of_issuer, issuer_id=issuer_id))

    async def commit(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> StoredSubscription:
        """Move a subscription's cursor forward, making the subscription if there is none.

        A sequence that is not after the committed one changes nothing. Returns what stands now.
        """
        self._check_open()
        change = partial(
            subscriptions.commit, issuer_id=issuer_id, name=name, sequence=sequence, commit_time_ms=commit_time_ms
        )
        return await self._writer.change(change)

    async def delete_subscription(self, issuer_id: str, name: str) -> bool:
        """Forget a subscription. Returns whether there was one."""
        self._check_open()
        return await self._writer.change(partial(subscriptions.delete, issuer_id=issuer_id, name=name))

    async def trim(self) -> int:
        """Remove now what need not be kept, a few events at a time. Returns how many were removed."""
        removed = 0
        while count := await self._trim_some():
            removed += count
        return removed

    async def _trim_some(self) -> int:
        self._check_open()
        return await self._writer.change(self._trim_in_writer)

    def _trim_in_writer(self, connection: sqlite3.Connection) -> int:
        count, trimmed_through = trim_some(connection, self._retention, self._now_ms())
        # Before the transaction is committed: no reader may miss an event that is not yet said to be gone.
        self._trimmed_through = max(self._trimmed_through, trimmed_through)
        return count

    async def _trim_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._trim_interval_seconds)
            try:
                await self.trim()
            except GatewayError as error:
                _logger.warning("event_log_not_trimmed", error=error.message)

    async def _close(self) -> None:
        self._trimming.cancel()
        await asyncio.gather(self._trimming, return_exceptions=True)
        self._growth.close()
        # The writer last: it tidies up the files if nobody else has them open.
        await asyncio.to_thread(self._reader.close)
        await self._writer.close()
        self._database.lock.close()

    def _check_open(self) -> None:
        if self._closing is not None:
            raise closed()
