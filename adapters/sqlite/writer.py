"""The one thread that writes: everything that waits at a moment shares one transaction and one sync to disk."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from adapters.sqlite.database import Database, FileLostError, connect_writer
from adapters.sqlite.events import ROWS_PER_STATEMENT, Appender
from gateway.ports import Event

__all__ = ["Writer"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _InOrder:
    """Events that are stored together, or none of them."""

    events: Sequence[Event]


_Work: TypeAlias = Event | _InOrder | Callable[[sqlite3.Connection], object]
_Entry: TypeAlias = "tuple[_Work, asyncio.Future[Any]]"


class Writer:
    """Stores events and makes changes, in transactions that are on disk when their callers are told.

    One batch is with the thread at a time, and what comes meanwhile makes up the next one: so both share out the
    interpreter's lock a few times a batch, not a few times an event.

    Its methods belong to the event loop on which it was made, those below the line to its thread.
    """

    def __init__(self, database: Database, on_commit: Callable[[int], None], on_lost: Callable[[], None]) -> None:
        """Start the thread.

        Args:
            database: Where it writes.
            on_commit: Told on the event loop, after each transaction, the log's last sequence.
            on_lost: Told on the event loop, once, that the database's file is no longer in its place.
        """
        self.commit_count = 0
        self._database = database
        self._appender: Appender | None = None
        self._on_commit = on_commit
        self._on_lost = on_lost
        self._is_lost = False
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Entry] = []
        self._is_busy = False
        self._is_ending = False
        self._batches: SimpleQueue[Sequence[_Entry]] = SimpleQueue()
        self._thread = Thread(target=self._run, name="event-log-writer", daemon=True)
        self._thread.start()

    def append(self, event: Event) -> "asyncio.Future[bool]":
        """Hand over an event. The result tells whether it is new; a failure of the storage is a `sqlite3.Error`."""
        future: asyncio.Future[bool] = self._loop.create_future()
        self._hand_over((event, future))
        return future

    def append_in_order(self, events: Sequence[Event]) -> "asyncio.Future[Sequence[bool]]":
        """Hand over events that are stored together, in order. Otherwise as `append`, for each of them."""
        future: asyncio.Future[Sequence[bool]] = self._loop.create_future()
        self._hand_over((_InOrder(events), future))
        return future

    def change(self, change: Callable[[sqlite3.Connection], _T]) -> "asyncio.Future[_T]":
        """Hand over statements to run in a transaction that others may share. Otherwise as `append`."""
        future: asyncio.Future[_T] = self._loop.create_future()
        self._hand_over((change, future))
        return future

    async def close(self) -> None:
        """Finish what was handed over, then end the thread. Nothing may be handed over any more."""
        self._is_ending = True
        self._send()
        await asyncio.to_thread(self._thread.join)

    def _hand_over(self, entry: _Entry) -> None:
        self._waiting.append(entry)
        if len(self._waiting) == 1 and not self._is_busy:
            # At the end of this turn of the loop, for what else comes in it.
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        if not self._is_busy and (self._waiting or self._is_ending):
            self._is_busy = True
            batch, self._waiting = self._waiting, []
            self._batches.put(batch)

    def _settle(self, entries: Sequence[_Entry], outcomes: Sequence[object], last: int) -> None:
        # Here, because the thread would have to give up the interpreter's lock once more for it. It looks up a name
        # that is in use, which waits for no disk.
        if not self._database.is_in_place():
            outcomes = [FileLostError()] * len(entries)
            if not self._is_lost:
                self._is_lost = True
                self._on_lost()
        for (_, future), outcome in zip(entries, outcomes, strict=True):
            if future.done():  # Its caller was cancelled.
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._on_commit(last)
        self._is_busy = False
        self._send()

    # ------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        # An empty batch is the end.
        while entries := self._batches.get():
            outcomes = self._store(entries)
            last = self._appender.last if self._appender else 0
            self._loop.call_soon_threadsafe(self._settle, entries, outcomes, last)
        self._disconnect()

    def _store(self, entries: Sequence[_Entry]) -> list[object]:
        """Store all entries, and tell of each its result or why it is not stored."""
        try:
            return self._commit(entries)
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
            outcomes = []
            for work, _ in entries:
                match work:
                    case Event():
                        outcomes.append(next(news))
                    case _InOrder():
                        outcomes.append(appender.append(work.events))
                    case _:
                        outcomes.append(work(connection))
            connection.execute("COMMIT")
        self.commit_count += 1
        return outcomes

    def _connect(self) -> Appender:
        connection = connect_writer(self._database)
        try:
            return Appender(connection)
        except BaseException:
            connection.close()
            raise

    def _disconnect(self) -> None:
        if self._appender is not None:
            self._appender.connection.close()
            self._appender = None
