"""The event log."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from adapters.growth import Growth
from adapters.nats.connection import Connection, Msg
from adapters.nats.envelope import pack
from adapters.nats.errors import NatsError, NobodyThereError
from adapters.nats.failures import EVENT_LOG
from adapters.nats.jetstream import EXPECTED_LAST, JetStreamError, is_other_one_there, may_pass, parse_ack
from adapters.nats.ordering import Ordering
from adapters.nats.reading import Reader
from adapters.nats.subjects import Names
from adapters.nats.subscriptions import Subscriptions
from gateway.errors import GatewayError
from gateway.ports import Event, LogBounds, Read, Scope, StoredSubscription

__all__ = ["NatsEventLog"]

_IS_FIRST: Final = {EXPECTED_LAST: "0"}
_PAUSE_SECONDS: Final = 0.05
"""Before an event is given once more to a stream that has no leader."""
_LOOK_SECONDS: Final = 2.0
"""How often is looked for growth of which nobody told."""
_CLOCK_MARGIN_MS: Final = 5000
"""How far receive times may be out of order: the clocks of gateways differ, and so do their ways to the stream."""
_SCAN: Final = 1000


class NatsEventLog:
    """A `gateway.ports.EventLog` in a stream that all gateways share.

    A duplicate has the subject of its event, so it is recognised as long as the stream holds that one.
    """

    def __init__(
        self, connection: Connection, names: Names, log_id: str, subscriptions: Subscriptions, patience_seconds: float
    ) -> None:
        """Use `NatsStorage.open`."""
        self._connection = connection
        self._names = names
        self._log_id = log_id
        self._subscriptions = subscriptions
        self._patience_seconds = patience_seconds
        self._reader = Reader(connection, names.event_stream, log_id)
        self._growth = Growth(0)
        self._ordering = Ordering(connection, names, self._reader, patience_seconds, self._growth.reach)
        self._trimmed_through = 0
        # Growth is told of as soon as somebody waits for it; what came before that is looked up.
        self._is_following = False
        self._begin_following = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None
        connection.on_change(self._stop_following)

    @property
    def log_id(self) -> str:
        """The identity of this log, made with it: 8 lower-case hexadecimal digits."""
        return self._log_id

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
            return await self._append(self._names.event(event), pack(event))
        except NatsError as error:
            raise EVENT_LOG.error(error) from error

    async def append_in_order(self, events: Sequence[Event]) -> Sequence[bool]:
        """Store several events, each behind those before it. Returns of each whether it is new.

        Where others append at the same time, that is so for those of the same card or consumer. Whoever gets an error,
        or is cancelled, does not know how many of the first ones are stored.
        """
        with EVENT_LOG.telling():
            return await self._ordering.append(events)

    async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
        """Read at most ``limit`` events after a sequence, in order; none if there are none, fewer where they are large.

        A scope counts if it names a subject; of a wider one the server would look at too much to find it.
        """
        last = self._growth.last
        with EVENT_LOG.telling():
            if scope is not None and scope.kind is not None and scope.subject_id is not None:
                events, bounds = await self._reader.read_subjects(after, limit, self._names.scope(scope), last)
                self._note(bounds)
                through = events[-1].sequence if events else max(after, last)
            else:
                events, trimmed_through = await self._reader.read(after, limit, last)
                through = events[-1].sequence if events else after
                self._note(LogBounds(trimmed_through, max(last, through)))
        return Read(events, through, LogBounds(self._trimmed_through, self._growth.last))

    async def bounds(self) -> LogBounds:
        """Tell what the log holds now, whoever put it there."""
        with EVENT_LOG.telling():
            self._note(await self._reader.look())
        return LogBounds(self._trimmed_through, self._growth.last)

    async def sequence_before(self, receive_time_ms: int) -> int:
        """Tell after which sequence to read to begin with the first event taken at that time or later."""
        bounds = await self.bounds()
        after, through = bounds.trimmed_through, bounds.last
        with EVENT_LOG.telling():
            while after < through:
                middle = (after + through) // 2
                found = await self._reader.find(middle + 1)
                if found is None or found.event.receive_time_ms >= receive_time_ms - _CLOCK_MARGIN_MS:
                    through = middle
                else:
                    after = found.sequence
        # Every event up to here is older, however the neighbours of the last one looked at are mixed up.
        while events := (await self.read(after, _SCAN)).events:
            for stored in events:
                if stored.event.receive_time_ms >= receive_time_ms:
                    return stored.sequence - 1
            after = events[-1].sequence
        return after

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until the log holds an event after that sequence, whoever put it there. Returns at once if it does."""
        while self._growth.last <= sequence:
            if self._is_following:
                await self._growth.wait()
            else:
                with EVENT_LOG.telling():
                    await self._follow()

    async def get_subscription(self, issuer_id: str, name: str) -> StoredSubscription | None:
        """Get a subscription; None if there is none."""
        with EVENT_LOG.telling():
            return await self._subscriptions.get(issuer_id, name)

    async def list_subscriptions(self, issuer_id: str | None = None) -> Sequence[StoredSubscription]:
        """List an issuer's subscriptions by name; with None those of all issuers, by issuer and name."""
        with EVENT_LOG.telling():
            return await self._subscriptions.list(issuer_id)

    async def commit(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> StoredSubscription:
        """Move a subscription's cursor forward, making the subscription if there is none.

        A sequence that is not after the committed one changes nothing. Returns what stands now.
        """
        with EVENT_LOG.telling():
            return await self._subscriptions.commit(issuer_id, name, sequence, commit_time_ms)

    async def delete_subscription(self, issuer_id: str, name: str) -> bool:
        """Forget a subscription. Returns whether there was one."""
        with EVENT_LOG.telling():
            return await self._subscriptions.delete(issuer_id, name)

    async def close(self) -> None:
        """Look for growth no longer. Who waits for it is told when the connection is closed."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _append(self, subject: str, content: bytes) -> bool:
        deadline = time.monotonic() + self._patience_seconds
        while True:
            left = deadline - time.monotonic()
            try:
                answer = await self._connection.request(subject, content, headers=_IS_FIRST, timeout_seconds=left)
                self._growth.reach(parse_ack(answer))
            except (JetStreamError, NobodyThereError) as error:
                # Only what is there is a duplicate: another gateway's may be on its way, and get lost with the leader.
                if is_other_one_there(error) and await self._reader.holds(subject):
                    return False
                if left < 2 * _PAUSE_SECONDS or not may_pass(error):
                    raise
            else:
                return True
            await asyncio.sleep(_PAUSE_SECONDS)

    def _note(self, bounds: LogBounds) -> None:
        self._trimmed_through = max(self._trimmed_through, bounds.trimmed_through)
        self._growth.reach(bounds.last)

    async def _follow(self) -> None:
        async with self._begin_following:
            if self._is_following:
                return
            if self._looking is None:
                await self._connection.subscribe(self._names.growth, self._hear)
                self._looking = asyncio.create_task(self._look_regularly())
            self._note(await self._reader.look())
            self._is_following = self._connection.is_connected

    def _stop_following(self, is_connected: bool) -> None:  # noqa: FBT001  as the connection tells it
        if not is_connected:
            self._is_following = False
            self._growth.wake()

    def _hear(self, message: Msg) -> None:
        if message.headers is not None:
            self._growth.reach(int(message.headers["Nats-Sequence"]))

    async def _look_regularly(self) -> None:
        # A message between two servers can get lost, and nobody learns of it.
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with suppress(GatewayError):
                await self.bounds()
