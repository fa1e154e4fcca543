"""Access of the event log, the key-value store and the leases to the database that they share."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from adapters.sqlite.damage import DamagedEventError, DamagedSubscriptionError, is_corruption
from adapters.sqlite.database import Database, connect_reader
from adapters.sqlite.writer import Writer
from gateway.errors import GatewayError, Reason, shown
from gateway.ports import Event, EventDamagedError
from issuer.common.v1 import error_pb2

__all__ = ["Access", "Reader"]

_A = TypeVar("_A")
_T = TypeVar("_T")

_RETRY_AFTER_SECONDS = 1.0
_READER_THREADS = 4


class Reader:
    """Runs queries on its own connections and threads, so that reads never wait for the writer.

    Each query sees the snapshot of the moment at which it begins.
    """

    def __init__(self, database: Database) -> None:
        """Prepare. Threads and connections are created on demand."""
        self._database = database
        self._executor = ThreadPoolExecutor(_READER_THREADS, thread_name_prefix="event-log-reader")
        self._idle: list[sqlite3.Connection] = []

    async def run(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a query and return its result.

        Raises:
            sqlite3.Error: The storage fails.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, query)

    def close(self) -> None:
        """Finish the running queries, then close the connections. Blocks."""
        self._executor.shutdown()
        for connection in self._idle:
            connection.close()

    def _run(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = connect_reader(self._database)
        try:
            result = query(connection)
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return result


class Access:
    """Access of one component to the database, until `end`. Storage failures carry the component's own reason.

    Every method that waits raises `GatewayError` if the storage fails or the access has ended.
    """

    def __init__(
        self, reader: Reader, writer: Writer, component: str, reason: Reason, on_damage: Callable[[sqlite3.Error], None]
    ) -> None:
        """Grant access.

        Args:
            reader: Runs the queries.
            writer: Makes the changes.
            component: The component's name in error messages.
            reason: The reason of its errors.
            on_damage: Called when the file was found damaged.
        """
        self._reader = reader
        self._writer = writer
        self._component = component
        self._reason = reason
        self._on_damage = on_damage
        self._end = ""
        self._read_reason = reason

    async def append(self, event: Event) -> bool:
        """Store an event. It is on disk when this returns. Returns whether it is new."""
        return await self._run(self._writer.append, event)

    async def append_in_order(self, events: Sequence[Event]) -> Sequence[bool]:
        """Store events in one transaction, in order. Returns for each whether it is new."""
        return await self._run(self._writer.append_in_order, events)

    async def change(self, change: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run statements in a transaction that others may share, and return their result."""
        return await self._run(self._writer.change, change)

    async def read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a query and return its result."""
        self.check()
        try:
            return await self._run(self._reader.run, query)
        except GatewayError:
            # The query may have found out why.
            self.check()
            raise

    def check(self) -> None:
        """Raise `GatewayError` if the access has ended."""
        self._check(self._read_reason)

    def end(self, why: str, read_reason: "Reason | None" = None) -> None:
        """Reject every call from now on.

        Args:
            why: The rest of the message after the component's name, for example ``is closed``.
            read_reason: The reason of the errors of reads, if it is another one.
        """
        if not self._end:
            self._end, self._read_reason = why, read_reason or self._reason

    async def _run(self, operation: Callable[[_A], Awaitable[_T]], argument: _A) -> _T:
        self._check(self._reason)
        try:
            return await operation(argument)
        except DamagedEventError as error:
            if not error.is_skipped:
                self._on_damage(error)
            raise EventDamagedError(error.sequence, is_skipped=error.is_skipped) from error
        except DamagedSubscriptionError as error:
            self._on_damage(error)
            raise GatewayError(
                error_pb2.ERROR_REASON_EVENT_DAMAGED,
                f"The committed cursor of the subscription {shown(error.name)} is damaged: delete the subscription, "
                "then reset it to a place before what it has not processed.",
            ) from error
        except UnicodeDecodeError as error:
            # In the message of an error of SQLite, about a schema that it cannot parse.
            raise self._error(
                self._reason, f"The {self._component}'s storage failed: its schema is damaged."
            ) from error
        except sqlite3.Error as error:
            if is_corruption(error):
                self._on_damage(error)
            name = getattr(error, "sqlite_errorname", None) or type(error).__name__
            raise self._error(self._reason, f"The {self._component}'s storage failed ({name}).") from error

    def _check(self, reason: Reason) -> None:
        if self._end:
            raise self._error(reason, f"The {self._component} {self._end}.")

    def _error(self, reason: Reason, message: str) -> GatewayError:
        is_lasting = reason == error_pb2.ERROR_REASON_EVENT_DAMAGED
        return GatewayError(reason, message, retry_after_seconds=None if is_lasting else _RETRY_AFTER_SECONDS)
