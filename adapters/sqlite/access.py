"""How the log and the store reach the database that they share."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from adapters.sqlite.reader import Reader
from adapters.sqlite.writer import Writer
from gateway.errors import GatewayError, Reason
from gateway.ports import Event
from issuer.common.v1 import error_pb2

__all__ = ["Access"]

_T = TypeVar("_T")

_RETRY_AFTER_SECONDS = 1.0


class Access:
    """One user's way to the database, until it ends. A failure of the storage is told with the user's own reason."""

    def __init__(self, reader: Reader, writer: Writer, user: str, reason: Reason) -> None:
        """Give a user its way.

        Args:
            reader: Runs its queries.
            writer: Makes its changes.
            user: Its name, for messages.
            reason: The reason of its failures.
        """
        self._reader = reader
        self._writer = writer
        self._user = user
        self._reason = reason
        self._end = ""

    async def append(self, event: Event) -> bool:
        """Store an event; when this returns, it is on disk. Returns whether it is new.

        Raises:
            GatewayError: The storage fails, or the access has ended.
        """
        self.check()
        try:
            return await self._writer.append(event)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    async def append_in_order(self, events: Sequence[Event]) -> Sequence[bool]:
        """Store events in one transaction, in order. Returns of each whether it is new. Raises as `append`."""
        self.check()
        try:
            return await self._writer.append_in_order(events)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    async def change(self, change: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run statements in a transaction that others may share, and return what they return. Raises as `append`."""
        self.check()
        try:
            return await self._writer.change(change)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    async def read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run a query and return what it returns. Raises as `append`."""
        self.check()
        try:
            return await self._reader.run(query)
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def check(self) -> None:
        """Raise `GatewayError` if the access has ended."""
        if self._end:
            raise self._error(f"The {self._user} {self._end}.")

    def end(self, why: str) -> None:
        """Refuse every call from now on.

        Args:
            why: What follows the user's name in the message, for example ``is closed``.
        """
        self._end = self._end or why

    def _unavailable(self, cause: sqlite3.Error) -> GatewayError:
        name = getattr(cause, "sqlite_errorname", None) or type(cause).__name__
        return self._error(f"The {self._user}'s storage fails ({name}).")

    def _error(self, message: str) -> GatewayError:
        return GatewayError(
            self._reason, message, outcome=error_pb2.OUTCOME_REJECTED, retry_after_seconds=_RETRY_AFTER_SECONDS
        )
