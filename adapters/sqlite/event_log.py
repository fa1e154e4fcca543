"""The event log, with the cursors of named subscriptions and retention."""

import sqlite3
from collections.abc import Callable, Collection, Sequence
from functools import partial

from adapters.sqlite import events, subscriptions
from adapters.sqlite.access import Access
from adapters.sqlite.damage import DamagedSubscriptionError, KnownDamage
from adapters.sqlite.database import Database
from adapters.sqlite.key_value_store import estimate_bytes
from adapters.sqlite.pages import read_page
from adapters.sqlite.schema import renew_log_id
from gateway.aio.append_notifier import AppendNotifier
from gateway.errors import Reason
from gateway.ports import (
    Event,
    EventDamagedError,
    LogBounds,
    Payloads,
    Read,
    ReportProgress,
    Scope,
    StoredSubscription,
)
from gateway.settings import EventLogSettings

__all__ = ["SqliteEventLog"]

_MAX_EVENTS_PER_TRIM = 100
"""Maximum events that one transaction removes: few enough not to delay the appends that wait for it."""
_MAX_EVENTS_PER_ORDERED_TRIM = 100_000
"""The same where an operator asks for it, and nothing waits."""
_LARGE_CACHE = "PRAGMA cache_size = -200000"
"""In KiB. Otherwise it would read and write the pages of the index once for each event: they come in another order."""


class SqliteEventLog:
    """A `gateway.ports.EventLog` in a SQLite file.

    A duplicate is recognised as long as the log holds the first event, that is until retention removes it. If a caller
    of a method that writes is cancelled, the change may still be made.
    """

    def __init__(
        self,
        access: Access,
        database: Database,
        appends: AppendNotifier,
        retention: EventLogSettings | None,
        now_ms: Callable[[], int],
        damage: KnownDamage,
    ) -> None:
        """Use `SqliteStorage.open`."""
        self._access = access
        self._damage = damage
        self._log_id = database.log_id
        self._appends = appends
        self._retention = retention
        self._now_ms = now_ms
        self._trimmed_through = database.bounds.trimmed_through

    @property
    def log_id(self) -> str:
        """The log's identity since its creation: 8 lower-case hexadecimal digits."""
        return self._log_id

    @property
    def damage(self) -> Collection[str]:
        """What was found damaged since the start."""
        return self._damage.found

    @property
    def damaged_events(self) -> Collection[str]:
        """The part of it that ends streams."""
        return self._damage.in_events

    async def append(self, event: Event) -> bool:
        """Store an event. It is on disk when this returns. Returns whether it is new."""
        return await self._access.append(event)

    async def append_in_order(self, events: Sequence[Event]) -> Sequence[bool]:
        """Store events in order in one transaction: all or none. Returns for each whether it is new."""
        return await self._access.append_in_order(events)

    async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
        """Read at most ``limit`` events after a sequence, in order; fewer if they are large.

        The scope has an effect only with a subject, for which there is an index.
        """
        if scope is not None and scope.kind is not None and scope.subject_id is not None:
            identity = (scope.issuer_id, scope.kind, scope.subject_id)
            found, through = await self._access.read(
                partial(events.read_subject, after=after, limit=limit, identity=identity)
            )
        else:
            last = self._appends.last
            found = await self._access.read(partial(events.read, after=after, limit=limit, last=last))
            through = found[-1].sequence if found else after
        # The bounds come after the read: what the read did not see was then not trimmed either.
        return Read(found, through, self._bounds())

    async def read_payloads(self, after: int, limit: int, issuer_id: str) -> Payloads:
        """As `read`, but return the payloads alone, and those of one issuer's events only."""
        last = self._appends.last
        page = await self._access.read(partial(read_page, after=after, limit=limit, last=last, issuer_id=issuer_id))
        return Payloads(*page, self._bounds())

    async def skip(self, sequence: int) -> bool:
        """Record that watchers may pass a damaged event; return False, without a change, if it is not damaged."""
        try:
            await self.read(sequence - 1, 1)
        except EventDamagedError as error:
            if error.sequence == sequence:
                await self._access.change(partial(events.skip, sequence=sequence))
                return True
        return False

    async def bounds(self) -> LogBounds:
        """Return the present bounds of the log."""
        self._access.check()
        return self._bounds()

    async def sequence_before(self, receive_time_ms: int) -> int:
        """Return the sequence before the first event received at that time or later."""
        return await self._access.read(partial(events.sequence_before, receive_time_ms=receive_time_ms))

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until the log holds an event after that sequence."""
        self._access.check()
        while self._appends.last <= sequence:
            await self._appends.wait()
            self._access.check()

    async def get_subscription(self, issuer_id: str, name: str) -> StoredSubscription | None:
        """Return a subscription, or None."""
        return await self._access.read(lambda connection: subscriptions.read_one(connection, issuer_id, name))

    async def list_subscriptions(
        self, issuer_id: str | None = None, *, after: str = "", limit: int | None = None
    ) -> Sequence[StoredSubscription]:
        """List an issuer's subscriptions by name; with None those of all issuers, by issuer and name.

        Damaged ones are left out, and noted.
        """
        if issuer_id is None:
            found = await self._access.read(subscriptions.read)
        else:
            where = "WHERE issuer_id = ? AND name > ?"
            found = await self._access.read(
                lambda connection: subscriptions.read(connection, where, issuer_id, after, limit=limit)
            )
        for error in found.damaged:
            self._damage.note(error)
        return found.intact

    async def create_subscription(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> bool:
        """Create a subscription. Returns False, without a change, if it exists."""
        first = StoredSubscription(issuer_id, name, sequence, commit_time_ms)
        return await self._change(issuer_id, name, lambda standing: None if standing else first) is not None

    async def commit(
        self, issuer_id: str, name: str, sequence: int, commit_time_ms: int, fencing_token: int = 0
    ) -> StoredSubscription:
        """Move a subscription's cursor forward, creating the subscription if needed.

        A sequence that is not after the committed one changes nothing, and neither does a fencing token from before a
        reset. Returns the stored subscription.
        """
        first = StoredSubscription(issuer_id, name, sequence, commit_time_ms)

        def change(standing: StoredSubscription | None) -> StoredSubscription:
            return standing.committed_at(sequence, commit_time_ms, fencing_token) if standing else first

        return await self._change(issuer_id, name, change) or first

    async def begin_watch(self, issuer_id: str, name: str, fencing_token: int) -> StoredSubscription | None:
        """Record the fencing token of a watcher that has become active. Returns the stored subscription, or None."""
        return await self._change(
            issuer_id, name, lambda standing: standing.watched_with(fencing_token) if standing else None
        )

    async def reset_subscription(
        self, issuer_id: str, name: str, sequence: int, commit_time_ms: int, fencing_token: int
    ) -> StoredSubscription | None:
        """Move a subscription's cursor anywhere, creating the subscription if needed.

        Returns the stored subscription; None, without a change, if its latest fencing token is another one.
        """
        first = StoredSubscription(issuer_id, name, sequence, commit_time_ms)
        return await self._change(
            issuer_id, name, lambda standing: (standing or first).reset_to(sequence, commit_time_ms, fencing_token)
        )

    async def delete_subscription(self, issuer_id: str, name: str) -> bool:
        """Delete a subscription. Returns whether there was one."""
        was_there = await self._access.change(partial(subscriptions.delete, issuer_id=issuer_id, name=name))
        self._damage.forget(DamagedSubscriptionError(issuer_id, name))
        return was_there

    async def trim(self) -> int:
        """Remove what retention no longer requires, a few events in each transaction. Returns their number."""
        # Estimated once, not for each transaction: it reads every entry.
        other_bytes = 0 if self._retention is None else await self._access.read(estimate_bytes)
        removed = 0
        # Even without retention: the transaction detects that the file was lost.
        while count := await self._access.change(partial(self._trim_some, other_bytes=other_bytes)):
            removed += count
        return removed

    async def trim_through(self, sequence: int, report: ReportProgress | None = None) -> None:
        """Remove the events up to a sequence of the log, many in each transaction."""
        oldest = f"SELECT sequence FROM event WHERE sequence <= {sequence:d}"  # noqa: S608  a number
        await self._access.change(lambda connection: connection.execute(_LARGE_CACHE).fetchone())
        remove = partial(self._remove_some, oldest=oldest, limit=_MAX_EVENTS_PER_ORDERED_TRIM)
        done, total = 0, sequence - self._trimmed_through
        while count := await self._access.change(remove):
            done += count
            if report is not None:
                report(done, total)

    async def renew_epoch(self) -> str:
        """Give the log a new identity, and return it."""
        self._log_id = await self._access.change(renew_log_id)
        return self._log_id

    def end(self, why: str, read_reason: "Reason | None" = None) -> None:
        """Reject every call from now on, including those that wait for an append; see `Access.end`."""
        self._access.end(why, read_reason)
        self._appends.wake()

    async def _change(
        self, issuer_id: str, name: str, change: Callable[[StoredSubscription | None], StoredSubscription | None]
    ) -> StoredSubscription | None:
        """Store what a function makes of a subscription, and return it; if that is None, change nothing."""

        def run(connection: sqlite3.Connection) -> StoredSubscription | None:
            standing = subscriptions.read_one(connection, issuer_id, name)
            wanted = change(standing)
            if wanted is not None and wanted != standing:
                subscriptions.store(connection, wanted)
            return wanted

        return await self._access.change(run)

    def _bounds(self) -> LogBounds:
        return LogBounds(self._trimmed_through, self._appends.last)

    def _trim_some(self, connection: sqlite3.Connection, other_bytes: int) -> int:
        if self._retention is None:
            return 0
        # The file does not shrink: SQLite reuses the free space.
        oldest = "SELECT sequence FROM event"
        if _content_bytes(connection) - other_bytes <= self._retention.retention_bytes:
            keep_from_ms = self._now_ms() - round(self._retention.retention_seconds * 1000)
            oldest += f" WHERE sequence <= {events.sequence_before(connection, keep_from_ms)}"
        return self._remove_some(connection, oldest, _MAX_EVENTS_PER_TRIM)

    def _remove_some(self, connection: sqlite3.Connection, oldest: str, limit: int) -> int:
        row: tuple[int, int] = connection.execute(
            f"SELECT count(*), max(sequence) FROM ({oldest} ORDER BY sequence LIMIT {limit})"  # noqa: S608  numbers
        ).fetchone()
        count, through = row
        if count:
            connection.execute("DELETE FROM event WHERE sequence <= ?", (through,))
            connection.execute("DELETE FROM skipped_event WHERE sequence <= ?", (through,))
            connection.execute("UPDATE meta SET trimmed_through = ?", (through,))
            # Before the commit: no reader may miss an event that the bounds still include.
            self._trimmed_through = max(self._trimmed_through, through)
        return count


def _content_bytes(connection: sqlite3.Connection) -> int:
    row = connection.execute(
        "SELECT (page_count - freelist_count) * page_size "
        "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
    ).fetchone()
    size: int = row[0]
    return size
