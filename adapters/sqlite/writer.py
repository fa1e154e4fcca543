"""The writer thread: all pending changes share one transaction and one sync to disk."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, TypeVar

from adapters.sqlite.database import Database, FileLostError, connect_writer
from adapters.sqlite.events import ROWS_PER_STATEMENT, Appender
from adapters.sqlite.files import Loss
from gateway.ports import Event

__all__ = ["Writer"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _InOrder:
    """Events that are stored together or not at all."""

    events: Sequence[Event]


_Work: TypeAlias = Event | _InOrder | Callable[[sqlite3.Connection], object]
_Task: TypeAlias = "tuple[_Work, asyncio.Future[Any]]"


class Writer:
    """Stores events and makes changes. Their transactions are on disk before callers get their results.

    The thread has one batch at a time; what arrives meanwhile forms the next one. So the interpreter lock changes
    hands a few times for each batch, not for each event.

    Methods run on the event loop that created the writer, those below the dividing line on its thread.
    """

    def __init__(self, database: Database, on_commit: Callable[[int], None], on_loss: Callable[[Loss], None]) -> None:
        """Start the thread.

        Args:
            database: The database to write to.
            on_commit: Called on the event loop after each transaction, with the log's last sequence.
            on_loss: Called on the event loop, once, if a file of the database was lost.
        """
        self.commit_count = 0
        self._database = database
        self._appender: Appender | None = None
        self._on_commit = on_commit
        self._on_loss = on_loss
        self._is_lost = False
        self._loop = asyncio.get_running_loop()
        self._pending: list[_Task] = []
        self._is_busy = False
        self._is_ending = False
        self._batches: SimpleQueue[Sequence[_Task]] = SimpleQueue()
        self._thread = Thread(target=self._run, name="event-log-writer", daemon=True)
        self._thread.start()

    def append(self, event: Event) -> "asyncio.Future[bool]":
        """Submit an event. The result is whether it is new; if the storage fails, the future raises `sqlite3.Error`."""
        future: asyncio.Future[bool] = self._loop.create_future()
        self._submit((event, future))
        return future

    def append_in_order(self, events: Sequence[Event]) -> "asyncio.Future[Sequence[bool]]":
        """Submit events that are stored together, in order. The result is that of `append` for each."""
        future: asyncio.Future[Sequence[bool]] = self._loop.create_future()
        self._submit((_InOrder(events), future))
        return future

    def change(self, change: Callable[[sqlite3.Connection], _T]) -> "asyncio.Future[_T]":
        """Submit statements that run in a transaction which others may share. The result is theirs."""
        future: asyncio.Future[_T] = self._loop.create_future()
        self._submit((change, future))
        return future

    def check_files(self) -> None:
        """Look for the loss of a file, which is otherwise found by the next batch."""
        if not self._is_lost and (loss := self._database.files.find_loss()) is not None:
            self._is_lost = True
            self._on_loss(loss)

    async def close(self) -> None:
        """Finish the submitted work, then end the thread. Nothing may be submitted after this."""
        self._is_ending = True
        self._send()
        await asyncio.to_thread(self._thread.join)

    def _submit(self, task: _Task) -> None:
        self._pending.append(task)
        if len(self._pending) == 1 and not self._is_busy:
            # At the end of this iteration of the loop, so that the batch includes its other submissions.
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        if not self._is_busy and (self._pending or self._is_ending):
            self._is_busy = True
            batch, self._pending = self._pending, []
            if batch:
                self.check_files()
            if batch and self._is_lost:
                self._loop.call_soon(self._settle, batch, (), 0)
            else:
                self._batches.put(batch)

    def _settle(self, tasks: Sequence[_Task], outcomes: Sequence[object], last: int) -> None:
        # Here, because the thread would release the interpreter lock once more for it.
        self.check_files()
        if self._is_lost:
            outcomes = [FileLostError()] * len(tasks)
        for (_, future), outcome in zip(tasks, outcomes, strict=True):
            if future.done():  # The caller was cancelled.
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
        # An empty batch ends the thread.
        while tasks := self._batches.get():
            outcomes = self._store(tasks)
            last = self._appender.last if self._appender else 0
            self._loop.call_soon_threadsafe(self._settle, tasks, outcomes, last)
        self._disconnect()

    def _store(self, tasks: Sequence[_Task]) -> list[object]:
        """Run all tasks. Returns for each its result, or the error."""
        try:
            return self._commit(tasks)
        except Exception as error:  # noqa: BLE001  the caller gets it, and the thread continues
            self._disconnect()
            if len(tasks) == 1 or isinstance(error, sqlite3.OperationalError):
                return [error] * len(tasks)
        # One task is at fault, for example with a text that is not Unicode. It must not fail the others.
        return [outcome for task in tasks for outcome in self._store([task])]

    def _commit(self, tasks: Sequence[_Task]) -> list[object]:
        appender = self._appender = self._appender or self._connect()
        connection = appender.connection
        events = [work for work, _ in tasks if isinstance(work, Event)]
        if len(tasks) == len(events) <= ROWS_PER_STATEMENT:
            # A single statement is its own transaction. It needs no Python until the sync ends, so it does not wait
            # halfway for a busy event loop to release the interpreter lock.
            outcomes: list[object] = [*appender.append(events)]
        else:
            connection.execute("BEGIN IMMEDIATE")
            are_new = iter(appender.append(events))
            outcomes = []
            for work, _ in tasks:
                match work:
                    case Event():
                        outcomes.append(next(are_new))
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
