"""The event log."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from adapters.nats.connection.connection import Connection, Msg
from adapters.nats.connection.errors import NatsError, NoResponderError
from adapters.nats.connection.failures import EVENT_LOG
from adapters.nats.connection.subjects import Names
from adapters.nats.event_log.continuity import Continuity
from adapters.nats.event_log.envelope import pack
from adapters.nats.event_log.ordering import Ordering
from adapters.nats.event_log.reader import Landmark, Reader
from adapters.nats.event_log.subscriptions import Subscriptions
from adapters.nats.jetstream.jetstream import EXPECTED_LAST, JetStreamError, is_other_one_there, may_pass, parse_ack
from adapters.nats.jetstream.lineage import Lineage
from gateway.aio.append_notifier import AppendNotifier
from gateway.ports import Event, LogBounds, Read, Scope, StoredSubscription

__all__ = ["NatsEventLog"]

_IS_FIRST: Final = {EXPECTED_LAST: "0"}
_PAUSE_SECONDS: Final = 0.05
"""Before an event is given once more to a stream that has no leader."""
_LOOK_SECONDS: Final = 2.0
"""How often is looked for growth of which nobody told, and for losses."""
_SCAN: Final = 1000
_SEQUENCE: Final = re.compile(r"[0-9]{1,20}")


class NatsEventLog:
    """A `gateway.ports.EventLog` in a stream that all gateways share.

    A duplicate has the subject of its event, so it is recognised as long as the stream holds that one.
    """

    def __init__(
        self,
        connection: Connection,
        names: Names,
        lineage: Lineage,
        subscriptions: Subscriptions,
        patience_seconds: float,
    ) -> None:
        """Use `NatsStorage.open`."""
        self._connection = connection
        self._names = names
        self._subscriptions = subscriptions
        self._patience_seconds = patience_seconds
        self._reader = Reader(connection, names.event_stream)
        self._continuity = Continuity(connection, names, self._reader, lineage, subscriptions, self._begin_anew)
        self._growth = AppendNotifier(0)
        self._hinted = 0
        self._ordering = Ordering(
            connection, names, self._reader, self._continuity.look, patience_seconds, self._note_appended
        )
        self._trimmed_through = 0
        # AppendNotifier is told of as soon as somebody waits for it; what came before that is looked up.
        self._is_following = False
        self._begin_following = asyncio.Lock()
        self._is_subscribed = False
        self._looking: asyncio.Task[None] | None = None
        connection.on_change(self._stop_following)

    async def settle(self) -> None:
        """Make sure that the stream is as other gateways have left it.

        Raises:
            NatsError: It cannot be told.
        """
        await self._continuity.settle()

    def start(self) -> None:
        """Look at the stream regularly, until `close`."""
        self._looking = asyncio.create_task(self._look_regularly())

    @property
    def log_id(self) -> str:
        """The identity of this log: 8 lower-case hexadecimal digits. Another one once the stream has lost events."""
        return self._continuity.lineage.log_id

    @property
    def size_bytes(self) -> int:
        """How much space the events took when `bounds` was called last."""
        return self._reader.size_bytes

    async def append(self, event: Event) -> bool:
        """Store an event; when this returns, it is where the stream keeps it. Returns whether it is new.

        Whoever gets an error, or is cancelled, does not know: the event may be stored all the same. Given again, it is
        a duplicate then.
        """
        try:
            if not self._continuity.is_settled:
                await self._continuity.settle()
            return await self._append(event)
        except NatsError as error:
            raise EVENT_LOG.error(error) from error

    async def append_in_order(self, events: Sequence[Event]) -> Sequence[bool]:
        """Store several events, each behind those before it. Returns of each whether it is new.

        Where others append at the same time, that is so for those of the same card or consumer. Whoever gets an error,
        or is cancelled, does not know how many of the first ones are stored.
        """
        async with self._settled():
            return await self._ordering.append(events)

    async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
        """Read at most ``limit`` events after a sequence, in order; none if there are none, fewer where they are large.

        A scope counts if it names a subject; of a wider one the server would look at too much to find it.
        """
        async with self._settled():
            last, hinted = self._growth.last, self._hinted
            if scope is not None and scope.kind is not None and scope.subject_id is not None:
                events, bounds = await self._reader.read_subjects(after, limit, self._names.scope(scope), last)
                through = events[-1].sequence if events else max(after, last)
            else:
                events, trimmed_through = await self._reader.read(after, limit, last, hinted)
                through = events[-1].sequence if events else after
                bounds = LogBounds(trimmed_through, max(last, through if events else 0))
        self._note(bounds)
        if events:
            self._continuity.saw(self._landmark(events[-1].event, events[-1].sequence))
        elif self._hinted == hinted:
            # Nothing is there, whoever said so.
            self._hinted = 0
        return Read(events, through, LogBounds(self._trimmed_through, self._growth.last))

    async def bounds(self) -> LogBounds:
        """Tell what the log holds now, whoever put it there."""
        with EVENT_LOG.telling():
            self._note(await self._continuity.look())
        return LogBounds(self._trimmed_through, self._growth.last)

    async def sequence_before(self, receive_time_ms: int) -> int:
        """Tell after which sequence to read to begin with the first event taken at that time or later."""
        bounds = await self.bounds()
        async with self._settled():
            after = await self._reader.before(bounds, receive_time_ms)
            while events := (await self.read(after, _SCAN)).events:
                for stored in events:
                    if stored.event.receive_time_ms >= receive_time_ms:
                        return stored.sequence - 1
                after = events[-1].sequence
        return after

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until the log holds an event after that sequence, whoever put it there. Returns at once if it does."""
        log_id = self.log_id
        while max(self._growth.last, self._hinted) <= sequence:
            with EVENT_LOG.telling():
                if self._is_following:
                    await self._growth.wait()
                else:
                    await self._follow()
                self._check(log_id)

    async def get_subscription(self, issuer_id: str, name: str) -> StoredSubscription | None:
        """Get a subscription; None if there is none."""
        async with self._settled():
            return await self._subscriptions.get(issuer_id, name)

    async def list_subscriptions(self, issuer_id: str | None = None) -> Sequence[StoredSubscription]:
        """List an issuer's subscriptions by name; with None those of all issuers, by issuer and name."""
        async with self._settled():
            return await self._subscriptions.list(issuer_id)

    async def commit(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> StoredSubscription:
        """Move a subscription's cursor forward, making the subscription if there is none.

        A sequence that is not after the committed one changes nothing. Returns what stands now.
        """
        async with self._settled():
            return await self._subscriptions.commit(issuer_id, name, sequence, commit_time_ms)

    async def delete_subscription(self, issuer_id: str, name: str) -> bool:
        """Forget a subscription. Returns whether there was one."""
        async with self._settled():
            return await self._subscriptions.delete(issuer_id, name)

    async def close(self) -> None:
        """Look for growth no longer. Who waits for it is told when the connection is closed."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    @asynccontextmanager
    async def _settled(self) -> AsyncIterator[None]:
        """Use one and the same log, of which nothing was lost."""
        log_id = self.log_id
        with EVENT_LOG.telling():
            await self._continuity.settle()
            self._check(log_id)
            yield
            self._check(log_id)

    def _check(self, log_id: str) -> None:
        if self.log_id != log_id:
            raise NatsError("It has lost its newest notifications, and goes on under a new identity: begin again.")

    async def _append(self, event: Event) -> bool:
        subject, content = self._names.event(event), pack(event)
        deadline = time.monotonic() + self._patience_seconds
        while True:
            left = deadline - time.monotonic()
            log_id, last_before = self.log_id, self._continuity.last
            try:
                answer = await self._connection.request(subject, content, headers=_IS_FIRST, timeout_seconds=left)
                sequence = parse_ack(answer)
            except (JetStreamError, NoResponderError) as error:
                # Only what is there is a duplicate: another gateway's may be on its way, and get lost with the leader.
                if is_other_one_there(error) and await self._reader.holds(subject):
                    return False
                if left < 2 * _PAUSE_SECONDS or not may_pass(error):
                    raise
            else:
                if self.log_id == log_id:
                    self._continuity.stored(Landmark(sequence, subject, event.receive_time_ms), last_before)
                    self._growth.reach(sequence)
                return True
            await asyncio.sleep(_PAUSE_SECONDS)

    def _note_appended(self, event: Event, sequence: int) -> None:
        self._continuity.saw(self._landmark(event, sequence))
        self._growth.reach(sequence)

    def _landmark(self, event: Event, sequence: int) -> Landmark:
        return Landmark(sequence, self._names.event(event), event.receive_time_ms)

    def _note(self, bounds: LogBounds) -> None:
        self._trimmed_through = max(self._trimmed_through, bounds.trimmed_through)
        self._growth.reach(bounds.last)

    def _begin_anew(self) -> None:
        # Whoever waits for the growth of what was is told that it is no more.
        former, self._growth = self._growth, AppendNotifier(0)
        self._hinted = self._trimmed_through = 0
        former.wake()

    async def _follow(self) -> None:
        async with self._begin_following:
            if self._is_following:
                return
            if not self._is_subscribed:
                self._is_subscribed = True
                await self._connection.subscribe(self._names.growth, self._hear)
            self._note(await self._continuity.look())
            self._is_following = self._connection.is_connected

    def _stop_following(self, is_connected: bool) -> None:  # noqa: FBT001  as the connection tells it
        self._continuity.doubt()
        if not is_connected:
            self._is_following = False
            self._growth.wake()

    def _hear(self, message: Msg) -> None:
        # Whoever may publish may say so: it is a reason to look, and proves nothing.
        told = (message.headers or {}).get("Nats-Sequence", "")
        if _SEQUENCE.fullmatch(told) and int(told) > self._growth.last:
            self._hinted = max(self._hinted, int(told))
            self._growth.wake()

    async def _look_regularly(self) -> None:
        # A message between two servers can get lost, and nobody learns of it.
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                self._note(await self._continuity.look(closely=True))
            except NatsError:
                self._continuity.doubt()
