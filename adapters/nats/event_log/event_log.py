"""The event log."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from adapters.nats.connection.connection import Connection, Msg
from adapters.nats.connection.errors import EVENT_LOG, NatsError, NoResponderError
from adapters.nats.event_log.continuity import Continuity
from adapters.nats.event_log.envelope import DamagedMessageError, headers_of, pack
from adapters.nats.event_log.ordering import Ordering
from adapters.nats.event_log.reader import Landmark, Reader
from adapters.nats.event_log.skips import Skips
from adapters.nats.event_log.subscriptions import Subscriptions
from adapters.nats.jetstream.jetstream import EXPECTED_LAST, JetStreamError, is_conflict, is_transient, parse_ack
from adapters.nats.jetstream.lineage import Lineage
from adapters.nats.jetstream.streams import Names
from gateway.aio.append_notifier import AppendNotifier
from gateway.ports import Event, EventDamagedError, LogBounds, Payloads, Read, Scope, StoredSubscription

__all__ = ["NatsEventLog"]

_PAUSE_SECONDS: Final = 0.05
"""Pause before a retry of an append at a stream without a leader."""
_CHECK_SECONDS: Final = 2.0
"""Interval between checks for unannounced appends and for losses."""
_SCAN_LIMIT: Final = 1000
_SEQUENCE: Final = re.compile(r"[0-9]{1,20}")


class NatsEventLog:
    """A `gateway.ports.EventLog` in a stream that all gateways share.

    An event is stored only as its subject's first one, or after a comparison with all of that subject, so a duplicate
    is recognised as long as the stream holds the first event. If a method that writes raises or is cancelled, the
    change may still be made.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        lineage: Lineage,
        subscriptions: Subscriptions,
        timeout_seconds: float,
    ) -> None:
        """Use `NatsStorage.open`."""
        self._connection = connection
        self._names = names
        self._subscriptions = subscriptions
        self._timeout_seconds = timeout_seconds
        self._reader = Reader(connection, names.event_stream)
        self._skips = Skips(connection, names.event_stream, self._reader)
        self._continuity = Continuity(connection, names, self._reader, lineage, subscriptions, self._reset)
        self._appends = AppendNotifier(0)
        self._hinted = 0
        self._ordering = Ordering(
            connection, names, self._reader, self._continuity.check, timeout_seconds, self._note_appended
        )
        self._trimmed_through = 0
        # Announcements are followed once a caller waits for one; earlier appends are looked up.
        self._is_following = False
        self._following = asyncio.Lock()
        self._is_subscribed = False
        self._checking: asyncio.Task[None] | None = None
        connection.on_change(self._connection_changed)

    async def verify(self) -> None:
        """Check that the stream is as other gateways left it.

        Raises:
            NatsError: The check failed.
        """
        await self._continuity.verify()

    def start(self) -> None:
        """Check the stream regularly, until `close`."""
        self._checking = asyncio.create_task(self._check_regularly())

    @property
    def log_id(self) -> str:
        """The log's identity: 8 lower-case hexadecimal digits. It changes if the stream loses events."""
        return self._continuity.lineage.log_id

    @property
    def size_bytes(self) -> int:
        """Size of the events when the bounds were last read."""
        return self._reader.size_bytes

    async def append(self, event: Event) -> bool:
        """Store an event. It is on the stream's disks when this returns. Returns whether it is new."""
        try:
            if not self._continuity.is_verified:
                await self._continuity.verify()
            return await self._append(event)
        except NatsError as error:
            raise EVENT_LOG.error(error, is_change=True) from error

    async def append_in_order(self, events: Sequence[Event]) -> Sequence[bool]:
        """Store events in order. Returns for each whether it is new.

        If other gateways append at the same time, the order holds for the events of each card and of each consumer. If
        this raises or is cancelled, some of the first events may be stored.
        """
        async with self._verified(is_change=True):
            return await self._ordering.append(events)

    async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
        """Read at most ``limit`` events after a sequence, in order; fewer if they are large.

        The scope has an effect only with a subject: for a wider one, the server would scan too much.
        """
        async with self._verified():
            last, hinted = self._appends.last, self._hinted
            try:
                if scope is not None and scope.kind is not None and scope.subject_id is not None:
                    events, bounds = await self._reader.read_subjects(after, limit, self._names.scope(scope), last)
                    through = events[-1].sequence if events else max(after, last)
                else:
                    events, trimmed_through = await self._reader.read(after, limit, last, hinted)
                    through = events[-1].sequence if events else after
                    bounds = LogBounds(trimmed_through, max(last, through if events else 0))
            except DamagedMessageError as error:
                raise await self._skips.explain(error.sequence) from error
        self._note_bounds(bounds)
        if events:
            self._continuity.note_seen(self._landmark(events[-1].event, events[-1].sequence))
        elif self._hinted == hinted:
            # The announced event does not exist.
            self._hinted = 0
        return Read(events, through, LogBounds(self._trimmed_through, self._appends.last))

    async def read_payloads(self, after: int, limit: int, issuer_id: str) -> Payloads:
        """As `read`, but return the payloads alone, and those of one issuer's events only."""
        return Payloads.of(await self.read(after, limit), lambda event: event.issuer_id == issuer_id)

    @property
    def damage(self) -> Collection[str]:
        """What was found damaged since the start."""
        return self._skips.damage

    @property
    def damaged_events(self) -> Collection[str]:
        """The part of it that ends streams: all of it."""
        return self._skips.damage

    async def skip(self, sequence: int) -> bool:
        """Record that watchers may pass a damaged event; return False, without a change, if it is not damaged."""
        try:
            await self.read(sequence - 1, 1)
        except EventDamagedError as error:
            if error.sequence == sequence:
                with EVENT_LOG.translated():
                    await self._skips.add(sequence)
                return True
        return False

    async def bounds(self) -> LogBounds:
        """Return the present bounds of the log, including other gateways' appends."""
        with EVENT_LOG.translated():
            self._note_bounds(await self._continuity.check())
        return LogBounds(self._trimmed_through, self._appends.last)

    async def sequence_before(self, receive_time_ms: int) -> int:
        """Return the sequence before the first event received at that time or later."""
        bounds = await self.bounds()
        async with self._verified():
            after = await self._reader.sequence_before(bounds, receive_time_ms)
            with suppress(EventDamagedError):  # Nobody knows when that was, so a watcher meets it.
                while events := (await self.read(after, _SCAN_LIMIT)).events:
                    for stored in events:
                        if stored.event.receive_time_ms >= receive_time_ms:
                            return stored.sequence - 1
                    after = events[-1].sequence
        return after

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until the log holds, or may hold, an event after that sequence, by any gateway."""
        log_id = self.log_id
        while max(self._appends.last, self._hinted) <= sequence:
            with EVENT_LOG.translated():
                if self._is_following:
                    await self._appends.wait()
                else:
                    await self._follow()
                self._check_identity(log_id)

    async def get_subscription(self, issuer_id: str, name: str) -> StoredSubscription | None:
        """Return a subscription, or None."""
        async with self._verified():
            return await self._subscriptions.get(issuer_id, name)

    async def list_subscriptions(
        self, issuer_id: str | None = None, *, after: str = "", limit: int | None = None
    ) -> Sequence[StoredSubscription]:
        """List an issuer's subscriptions by name; with None those of all issuers, by issuer and name."""
        async with self._verified():
            if issuer_id is None or limit is None:
                listed = await self._subscriptions.list(issuer_id)
                return [each for each in listed if each.name > after]
            return await self._subscriptions.page(issuer_id, after, limit)

    async def create_subscription(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> bool:
        """Create a subscription. Returns False, without a change, if it exists."""
        async with self._verified(is_change=True):
            return await self._subscriptions.create(issuer_id, name, sequence, commit_time_ms)

    async def commit(
        self, issuer_id: str, name: str, sequence: int, commit_time_ms: int, fencing_token: int = 0
    ) -> StoredSubscription:
        """Move a subscription's cursor forward, creating the subscription if needed.

        A sequence that is not after the committed one changes nothing, and neither does a fencing token from before a
        reset. Returns the stored subscription.
        """
        async with self._verified(is_change=True):
            return await self._subscriptions.commit(issuer_id, name, sequence, commit_time_ms, fencing_token)

    async def begin_watch(self, issuer_id: str, name: str, fencing_token: int) -> StoredSubscription | None:
        """Record the fencing token of a watcher that has become active. Returns the stored subscription, or None."""
        async with self._verified(is_change=True):
            return await self._subscriptions.begin_watch(issuer_id, name, fencing_token)

    async def reset_subscription(
        self, issuer_id: str, name: str, sequence: int, commit_time_ms: int, fencing_token: int
    ) -> StoredSubscription | None:
        """Move a subscription's cursor anywhere, creating the subscription if needed.

        Returns the stored subscription; None, without a change, if its latest fencing token is another one.
        """
        async with self._verified(is_change=True):
            return await self._subscriptions.reset(issuer_id, name, sequence, commit_time_ms, fencing_token)

    async def delete_subscription(self, issuer_id: str, name: str) -> bool:
        """Delete a subscription. Returns whether there was one."""
        async with self._verified(is_change=True):
            return await self._subscriptions.delete(issuer_id, name)

    async def renew_epoch(self) -> str:
        """Give the log a new identity, and return it."""
        with EVENT_LOG.translated(is_change=True):
            await self._continuity.renew()
        return self.log_id

    async def close(self) -> None:
        """Stop the regular checks. Calls that wait for appends fail when the connection closes."""
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)

    @asynccontextmanager
    async def _verified(self, *, is_change: bool = False) -> AsyncIterator[None]:
        """Translate errors, and fail if the log loses events before the context ends."""
        log_id = self.log_id
        with EVENT_LOG.translated(is_change=is_change):
            await self._continuity.verify()
            self._check_identity(log_id)
            yield
            self._check_identity(log_id)

    def _check_identity(self, log_id: str) -> None:
        if self.log_id != log_id:
            raise NatsError("It has lost its newest notifications and has a new identity; start again.")

    async def _append(self, event: Event) -> bool:
        subject, content, expected = self._names.event(event), pack(event), 0
        deadline = time.monotonic() + self._timeout_seconds
        while True:
            left = deadline - time.monotonic()
            log_id, last_before = self.log_id, self._continuity.last
            headers = {EXPECTED_LAST: str(expected), **headers_of(event, content)}
            try:
                response = await self._connection.request(subject, content, headers=headers, timeout_seconds=left)
                sequence = parse_ack(response)
            except (JetStreamError, NoResponderError) as error:
                if is_conflict(error):
                    # Only a stored event makes a duplicate: one in flight may be lost with the leader.
                    is_held, last = await self._reader.look_up(event, subject)
                    if is_held:
                        return False
                    if last != expected and left > 0:
                        # Other states of the operation were stored before.
                        expected = last
                        continue
                if left < 2 * _PAUSE_SECONDS or not is_transient(error):
                    raise
            else:
                if self.log_id == log_id:
                    landmark = Landmark(sequence, subject, event.receive_time_ms, event.identity)
                    self._continuity.note_stored(landmark, last_before)
                    self._appends.reach(sequence)
                return True
            await asyncio.sleep(_PAUSE_SECONDS)

    def _note_appended(self, event: Event, sequence: int) -> None:
        self._continuity.note_seen(self._landmark(event, sequence))
        self._appends.reach(sequence)

    def _landmark(self, event: Event, sequence: int) -> Landmark:
        return Landmark(sequence, self._names.event(event), event.receive_time_ms, event.identity)

    def _note_bounds(self, bounds: LogBounds) -> None:
        self._trimmed_through = max(self._trimmed_through, bounds.trimmed_through)
        self._appends.reach(bounds.last)

    def _reset(self) -> None:
        # Wakes the callers that wait for appends to the former log, so that they fail.
        former, self._appends = self._appends, AppendNotifier(0)
        self._hinted = self._trimmed_through = 0
        former.wake()

    async def _follow(self) -> None:
        async with self._following:
            if self._is_following:
                return
            if not self._is_subscribed:
                self._is_subscribed = True
                await self._connection.subscribe(self._names.appends, self._receive)
            self._note_bounds(await self._continuity.check())
            self._is_following = self._connection.is_connected

    def _connection_changed(self, is_connected: bool) -> None:  # noqa: FBT001  the connection's interface
        self._continuity.doubt()
        if not is_connected:
            self._is_following = False
            self._appends.wake()

    def _receive(self, message: Msg) -> None:
        # Any client with the permission may publish here: a hint to read, but no proof.
        announced = (message.headers or {}).get("Nats-Sequence", "")
        if _SEQUENCE.fullmatch(announced) and int(announced) > self._appends.last:
            self._hinted = max(self._hinted, int(announced))
            self._appends.wake()

    async def _check_regularly(self) -> None:
        # An announcement between two servers can get lost unnoticed.
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                self._note_bounds(await self._continuity.check(closely=True))
            except NatsError:
                self._continuity.doubt()
