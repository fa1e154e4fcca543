"""Detects that a stream has lost its newest events, so that no reader misses what replaces them.

After the restore of a snapshot, or a power failure before a sync to disk, the stream assigns sequences again. A reader
beyond that place would miss the events that are there now. So the event log gets a new identity: cursors of the old one
are rejected, and committed ones count up to the last sequence that both identities share.

The sign of a loss is an event that was there, is missing now, and was not removed by retention. Each gateway remembers
the last event that it has seen. But a leader that was just elected, or does not know yet that it was replaced, may also
lag behind. So before a gateway concludes anything, it has the leader carry out an operation that needs a majority, and
asks again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from adapters.nats.connection.connection import Connection
from adapters.nats.connection.errors import NatsError
from adapters.nats.event_log.reader import Landmark, Reader, State
from adapters.nats.event_log.subscriptions import Subscriptions
from adapters.nats.jetstream.bucket import Bucket
from adapters.nats.jetstream.jetstream import api_request
from adapters.nats.jetstream.lineage import Lineage
from adapters.nats.jetstream.streams import Names
from gateway.ports import LogBounds

__all__ = ["Continuity"]

_RENEWAL: Final = "renewal"
"""The key of the lock on the identity. No subscription has this key."""
_RENEWAL_SECONDS: Final = 30.0
_MAX_ATTEMPTS: Final = 4
_PAUSE_SECONDS: Final = 0.25
_NOTHING: Final = Landmark(0, "", 0)
_ADVICE: Final = (
    "The lost notifications are in D1's operation history. Cursors of the old identity are rejected: start at a time "
    "or at EARLIEST. Named subscriptions return to the last unchanged notification by themselves. Find the cause at "
    "NATS: the restore of a snapshot, or a power failure without sync_interval: always."
)

_log = structlog.get_logger(__name__)


class Continuity:
    """Knows what the stream has held, and compares. Every method that waits raises `NatsError` on failure."""

    def __init__(
        self,
        connection: Connection,
        names: Names,
        reader: Reader,
        lineage: Lineage,
        subscriptions: Subscriptions,
        on_renewal: Callable[[], None],
    ) -> None:
        """Begin without having seen an event.

        Args:
            connection: The connection to NATS.
            names: The names of the stream and its subjects.
            reader: A reader of the same stream.
            lineage: The stream's lineage when it was opened.
            subscriptions: The committed cursors, which show how far the stream had come.
            on_renewal: Called when the log has a new identity.
        """
        self._connection = connection
        self._names = names
        self._reader = reader
        self._subscriptions = subscriptions
        self._locks = Bucket(connection, names.subscription_bucket)
        self._on_renewal = on_renewal
        self._landmark = _NOTHING
        self._doubt_count = 1
        self._verified_count = 0
        self._verifying = asyncio.Lock()
        subscriptions.use(lineage)
        self.lineage = lineage
        """The present lineage of the log."""

    @property
    def is_verified(self) -> bool:
        """Whether the stream was found unchanged since the last `doubt`."""
        return self._verified_count == self._doubt_count

    @property
    def last(self) -> int:
        """The last sequence that the log is known to have had."""
        return self._landmark.sequence

    def doubt(self) -> None:
        """Note that the stream may have changed: the connection was lost, or NATS does not respond."""
        self._doubt_count += 1

    def note_seen(self, landmark: Landmark) -> None:
        """Note that an event was there."""
        if landmark.sequence > self._landmark.sequence:
            self._landmark = landmark

    def note_stored(self, landmark: Landmark, last_before: int) -> None:
        """Note that the stream has stored an event, and the value of `last` when it was sent."""
        if landmark.sequence <= last_before:
            self.doubt()
        self.note_seen(landmark)

    async def verify(self) -> None:
        """Check the stream, if it is in doubt."""
        if not self.is_verified:
            async with self._verifying:
                if not self.is_verified:
                    await self.check()

    async def check(self, *, closely: bool = False) -> LogBounds:
        """Return the stream's bounds from the leader, after checking that it has lost nothing.

        After a loss, the log has a new identity when this returns.

        Args:
            closely: Whether to check the last seen event itself, and not only its sequence. Implied if the stream is in
                doubt.
        """
        doubt_count, lineage, known = self._doubt_count, self.lineage, [self._landmark]
        if not self.is_verified:
            known.append(await self._furthest_cursor())
        elif not closely:
            known = [known[0]._replace(subject="")]
        # After collecting the known landmarks, as the stream grows meanwhile.
        state = await self._reader.state()
        lost = await self._lost(state, known)
        if self.lineage is not lineage:
            # Another call has renewed the identity meanwhile, so the known landmarks are obsolete.
            return await self.check(closely=closely)
        if lost is not None:
            state = await self._resolve(known, lineage)
            lineage = state.lineage
        if state.last > self._landmark.sequence:
            newest = await self._reader.landmark(state.last) or Landmark(state.last, "", state.last_time_ms)
            if self.lineage.log_id != lineage.log_id:
                return await self.check(closely=closely)
            self.note_seen(newest)
        self._verified_count = max(self._verified_count, doubt_count)
        return state.bounds

    async def _furthest_cursor(self) -> Landmark:
        # Another gateway, which may be gone, has seen that place.
        listed = await self._subscriptions.list(None)
        last = max(listed, key=lambda each: each.committed, default=None)
        return _NOTHING if last is None else Landmark(last.committed, "", last.commit_time_ms)

    async def _lost(self, state: State, known: Sequence[Landmark]) -> Landmark | None:
        """Return a known landmark that the stream has lost; None if it has lost none."""
        if state.lineage.log_id != self.lineage.log_id:
            return known[0]
        for landmark in known:
            if state.last < landmark.sequence:
                return landmark
            if landmark.subject:
                found = await self._reader.landmark(landmark.sequence)
                if found is not None and landmark.differs(found):
                    return landmark
        return None

    async def renew(self) -> None:
        """Give the log a new identity because an operator says so: cursors that clients keep are rejected.

        Committed cursors stay, unless they are beyond the end.
        """
        await self.check(closely=True)
        async with self._alone():
            state = await self._reader.state()
            await self._store(state, self.lineage.renewed(state.last))

    async def _resolve(self, known: Sequence[Landmark], lineage: Lineage) -> State:
        """Decide whether there is a loss. Returns the stream's state with the right identity."""
        async with self._alone():
            if self.lineage is not lineage:
                return await self._reader.state()
            return await self._confirm(known)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        revision = await self._locks.put(_RENEWAL, b"", expected=0, ttl_seconds=_RENEWAL_SECONDS)
        if revision is None:
            raise NatsError("Another gateway is checking whether its stream has lost events.")
        try:
            yield
        finally:
            with suppress(NatsError):
                await self._locks.delete(_RENEWAL, revision=revision)

    async def _confirm(self, known: Sequence[Landmark]) -> State:
        lost = known[0]
        for _ in range(_MAX_ATTEMPTS):
            await self._require_majority()
            state = await self._reader.state()
            if state.lineage.log_id != self.lineage.log_id and not self.lineage.succeeds(state.lineage):
                return self._adopt(state)
            still_lost = await self._lost(state, known)
            if still_lost is None:
                return state
            lost = still_lost
            await asyncio.sleep(_PAUSE_SECONDS)
        return await self._renew(state, lost)

    async def _require_majority(self) -> None:
        # Purges nothing, as no event has this subject. A leader responds once a majority has accepted the operation and
        # all earlier ones are applied. So one that lags has caught up, and one that was replaced does not respond.
        nothing = f"{self._names.events}.none.0.none.none"
        await api_request(self._connection, f"STREAM.PURGE.{self._names.event_stream}", {"filter": nothing})

    async def _renew(self, state: State, lost: Landmark) -> State:
        # Events at reassigned sequences were received after the lost one.
        common = await self._reader.sequence_before(state.bounds, lost.time_ms)
        return await self._store(state, self.lineage.renewed(min(common, lost.sequence)))

    async def _store(self, state: State, lineage: Lineage) -> State:
        config = dict(state.config)
        config["metadata"] = config.get("metadata", {}) | lineage.metadata()
        await api_request(self._connection, f"STREAM.UPDATE.{self._names.event_stream}", config)
        return self._adopt(await self._reader.state())

    def _adopt(self, state: State) -> State:
        _log.error(
            "newest_notifications_lost",
            before=self.lineage.log_id,
            now=state.lineage.log_id,
            unchanged_through=state.lineage.former.get(self.lineage.log_id, 0),
            last=state.last,
            advice=_ADVICE,
        )
        self.lineage, self._landmark = state.lineage, _NOTHING
        self._subscriptions.use(state.lineage)
        self._on_renewal()
        return state
