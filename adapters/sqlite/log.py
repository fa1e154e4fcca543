"""The event log."""

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial

from adapters.sqlite import entries, events, subscriptions
from adapters.sqlite.access import Access
from adapters.sqlite.database import Database
from adapters.sqlite.retention import trim_some
from gateway.aio.append_notifier import AppendNotifier
from gateway.ports import Event, LogBounds, Read, Scope, StoredSubscription
from gateway.settings import EventLogSettings

__all__ = ["SqliteEventLog"]


class SqliteEventLog:
    """A `gateway.ports.EventLog` in a SQLite file.

    A duplicate is recognised as long as the log holds the first event; what retention removed is forgotten.
    """

    def __init__(
        self,
        access: Access,
        database: Database,
        growth: AppendNotifier,
        retention: EventLogSettings | None,
        now_ms: Callable[[], int],
    ) -> None:
        """Use `SqliteStorage.open`."""
        self._access = access
        self._log_id = database.log_id
        self._growth = growth
        self._retention = retention
        self._now_ms = now_ms
        self._trimmed_through = database.bounds.trimmed_through

    @property
    def log_id(self) -> str:
        """The identity of this log, made with it: 8 lower-case hexadecimal digits."""
        return self._log_id

    async def append(self, event: Event) -> bool:
        """Store an event; when this returns, it is on disk. Returns whether it is new.

        A caller that is cancelled does not know: the event may be stored all the same.
        """
        return await self._access.append(event)

    async def append_in_order(self, events: Sequence[Event]) -> Sequence[bool]:
        """Store several events, each behind those before it, in one transaction: all of them or none.

        Returns of each whether it is new. A caller that is cancelled does not know: they may be stored all the same.
        """
        return await self._access.append_in_order(events)

    async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
        """Read at most ``limit`` events after a sequence, in order; none if there are none, fewer where they are large.

        A scope counts if it names a subject, whose events an index leads to.
        """
        if scope is not None and scope.kind is not None and scope.subject_id is not None:
            identity = (scope.issuer_id, scope.kind, scope.subject_id)
            found, through = await self._access.read(
                partial(events.read_subject, after=after, limit=limit, identity=identity)
            )
        else:
            found = await self._access.read(partial(events.read, after=after, limit=limit))
            through = found[-1].sequence if found else after
        # Looked at after the read: what it did not see was then not trimmed either.
        return Read(found, through, self._bounds())

    async def bounds(self) -> LogBounds:
        """Tell what the log holds."""
        self._access.check()
        return self._bounds()

    async def sequence_before(self, receive_time_ms: int) -> int:
        """Tell after which sequence to read to begin with the first event taken at that time or later."""
        return await self._access.read(partial(events.sequence_before, receive_time_ms=receive_time_ms))

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until the log holds an event after that sequence. Returns at once if it does."""
        self._access.check()
        while self._growth.last <= sequence:
            await self._growth.wait()
            self._access.check()

    async def get_subscription(self, issuer_id: str, name: str) -> StoredSubscription | None:
        """Get a subscription; None if there is none."""
        return await self._access.read(partial(subscriptions.find, issuer_id=issuer_id, name=name))

    async def list_subscriptions(self, issuer_id: str | None = None) -> Sequence[StoredSubscription]:
        """List an issuer's subscriptions by name; with None those of all issuers, by issuer and name."""
        if issuer_id is None:
            return await self._access.read(subscriptions.list_all)
        return await self._access.read(partial(subscriptions.list_of_issuer, issuer_id=issuer_id))

    async def commit(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> StoredSubscription:
        """Move a subscription's cursor forward, making the subscription if there is none.

        A sequence that is not after the committed one changes nothing. Returns what stands now.
        """
        change = partial(
            subscriptions.commit, issuer_id=issuer_id, name=name, sequence=sequence, commit_time_ms=commit_time_ms
        )
        return await self._access.change(change)

    async def delete_subscription(self, issuer_id: str, name: str) -> bool:
        """Forget a subscription. Returns whether there was one."""
        return await self._access.change(partial(subscriptions.delete, issuer_id=issuer_id, name=name))

    async def trim(self) -> int:
        """Remove now what need not be kept, a few events at a time. Returns how many were removed."""
        other_bytes = 0
        if self._retention is not None:
            # Once and not for each transaction: it looks at every entry.
            other_bytes = await self._access.read(entries.estimate_bytes)
        removed = 0
        while count := await self._access.change(partial(self._trim_in_writer, other_bytes=other_bytes)):
            removed += count
        return removed

    def end(self, why: str) -> None:
        """Refuse every call from now on, those included that wait for growth."""
        self._access.end(why)
        self._growth.wake()

    def _bounds(self) -> LogBounds:
        return LogBounds(self._trimmed_through, self._growth.last)

    def _trim_in_writer(self, connection: sqlite3.Connection, other_bytes: int) -> int:
        count, trimmed_through = trim_some(connection, self._retention, self._now_ms(), other_bytes)
        # Before the transaction is committed: no reader may miss an event that is not yet said to be gone.
        self._trimmed_through = max(self._trimmed_through, trimmed_through)
        return count
