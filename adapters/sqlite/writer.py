"""The one thread that writes: everything that waits at a moment shares one transaction and one sync to disk."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from adapters.sqlite.database import connect_writer
from adapters.sqlite.events import ROWS_PER_STATEMENT, Appender
from adapters.sqlite.failure import unavailable
from gateway.ports import Event

__all__ = ["Writer"]

_T = TypeVar("_T")

_Work: TypeAlias = Event | Callable[[sqlite3.Connection], object]
_Entry: TypeAlias = "tuple[_Work, asyncio.Future[Any]]"


class Writer:
    """Stores events and makes changes, in transactions that are on disk when their callers are told.

    Its methods belong to the event loop on which it was made, those below the line to its thread.
    """

    def __init__(self, path: Path, on_commit: Callable[[int], None]) -> None:
        """Start the thread.

        Args:
            path: The database.
            on_commit: Told on the event loop, after each transaction, the log's last sequence.
        """
        self.commit_count = 0
        self._path = path
        self._appender: Appender | None = None
        self._on_commit = on_commit
        self._ending = False
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="event-log-writer", daemon=True)
        self._thread.start()

    def append(self, event: Event) -> "asyncio.Future[bool]":
        """Hand over an event. The result tells whether it is new; a storage failure is a `GatewayError`."""
        future: asyncio.Future[bool] = self._loop.create_future()
        self._queue.put((event, future))
        return future

    def change(self, change: Callable[[sqlite3.Connection], _T]) -> "asyncio.Future[_T]":
        """Hand over statements to run in a transaction that others may share. Otherwise as `append`."""
        future: asyncio.Future[_T] = self._loop.create_future()
        self._queue.put((change, future))
        return future

    async def close(self) -> None:
        """Finish what was handed over, then end the thread. Nothing may be handed over any more."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _settle(self, entries: Sequence[_Entry], outcomes: Sequence[object], last: int) -> None:
        for (_, future), outcome in zip(entries, outcomes, strict=True):
            if future.done():  # Its caller was cancelled.
                continue
            if isinstance(outcome, sqlite3.Error):
                future.set_exception(unavailable(outcome))
            elif isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._on_commit(last)

    # ------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        while not self._ending:
            entries = self._take()
            outcomes = self._store(entries)
            last = self._appender.last if self._appender else 0
            self._loop.call_soon_threadsafe(self._settle, entries, outcomes, last)
        self._disconnect()

    def _take(self) -> list[_Entry]:
        """Wait for an entry and take all there are."""
        entries: list[_Entry] = []
        entry = self._queue.get()
        while entry is not None:
            entries.append(entry)
            if self._queue.empty():
                return entries
            entry = self._queue.get_nowait()
        self._ending = True
        return entries

    def _store(self, entries: Sequence[_Entry]) -> list[object]:
        """Store all entries, and tell of each its result or why it is not stored."""
        try:
            return self._commit(entries) if entries else []
        except Exception as error:  # noqa: BLE001  whatever it is, its caller is told and the thread goes on
            self._disconnect()
            if len(entries) == 1 or isinstance(error, sqlite3.OperationalError):
                return [error] * len(entries)
        # It is the fault of an entry, a text that is no Unicode for example, which must not fail its neighbours.
        return [outcome for entry in entries for outcome in self._store([entry])]

    def _commit(self, entries: Sequence[_Entry]) -> list[object]:
        appender = self._appender = self._appender or self._connect()
        connection = appender.connection
        events = [work for work, _ in entries if isinstance(work, Event)]
        if len(entries) == len(events) <= ROWS_PER_STATEMENT:
            # One statement is a transaction by itself. From its beginning to the end of the sync it needs no Python, so
            # it does not wait for a busy event loop to give up the interpreter's lock halfway.
            outcomes: list[object] = [*appender.append(events)]
        else:
            connection.execute("BEGIN IMMEDIATE")
            news = iter(appender.append(events))
            outcomes = [next(news) if isinstance(work, Event) else work(connection) for work, _ in entries]
            connection.execute("COMMIT")
        self.commit_count += 1
        return outcomes

    def _connect(self) -> Appender:
        connection = connect_writer(self._path)
        try:
            return Appender(connection)
        except BaseException:
            connection.close()
            raise

    def _disconnect(self) -> None:
        if self._appender is not None:
            self._appender.connection.close()
            self._appender = None
