"""Notices that a stream has lost its newest events, and sees to it that nothing is passed over then.

A snapshot was restored, or a power failure took what no disk had: the stream gives out sequences once more that it had
given out before. Whoever stood at one of them would miss what stands there now. So the log goes on under a new
identity: cursors of the old one are refused, and committed ones count only as far as the two logs are the same.

What shows it is an event that was there and is not there any more, nor was removed by retention: each gateway keeps
the last one that it has seen in mind. A leader that was just elected, or does not know yet that it is none any more,
may be behind as well; so before anything is concluded, the leader has to carry something out that a majority has to
agree upon, and is asked after that.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from adapters.nats.connection.connection import Connection
from adapters.nats.connection.errors import NatsError
from adapters.nats.connection.subjects import Names
from adapters.nats.event_log.reader import Landmark, Reader, State
from adapters.nats.event_log.subscriptions import Subscriptions
from adapters.nats.jetstream.bucket import Bucket
from adapters.nats.jetstream.jetstream import ask
from adapters.nats.jetstream.lineage import Lineage
from gateway.ports import LogBounds

__all__ = ["Continuity"]

_RENEWAL: Final = "renewal"
"""A key of its own, that no subscription has: who holds it is the only one that may change the identity."""
_RENEWAL_SECONDS: Final = 30.0
_ATTEMPTS: Final = 4
_PAUSE_SECONDS: Final = 0.25
_NOWHERE: Final = Landmark(0, "", 0)
_ADVICE: Final = (
    "D1 has what it sent in its operation history. Cursors of the old identity are refused: start at a time or at "
    "EARLIEST. Named subscriptions go back to what is unchanged by themselves. Find out what happened to NATS: a "
    "snapshot was restored, or a power failure came without sync_interval: always."
)

_log = structlog.get_logger(__name__)


class Continuity:
    """Knows what the stream has held, and compares. Every method that waits raises `NatsError` if it cannot be told."""

    def __init__(
        self,
        connection: Connection,
        names: Names,
        reader: Reader,
        lineage: Lineage,
        subscriptions: Subscriptions,
        on_renewal: Callable[[], None],
    ) -> None:
        """Begin without having seen anything.

        Args:
            connection: To NATS.
            names: Of the stream.
            reader: Of the same stream.
            lineage: The identity that it had when it was opened.
            subscriptions: The committed cursors, which show how far the stream had come.
            on_renewal: Called when the log has another one.
        """
        self._connection = connection
        self._names = names
        self._reader = reader
        self._subscriptions = subscriptions
        self._locks = Bucket(connection, names.subscription_bucket)
        self._on_renewal = on_renewal
        self._landmark = _NOWHERE
        self._doubts = 1
        self._settled = 0
        self._settling = asyncio.Lock()
        subscriptions.belong_to(lineage)
        self.lineage = lineage
        """The identity of the log."""

    @property
    def is_settled(self) -> bool:
        """Whether the stream is known to go on as it was, since somebody doubted it last."""
        return self._settled == self._doubts

    @property
    def last(self) -> int:
        """The last sequence of which it is known that the log had it."""
        return self._landmark.sequence

    def doubt(self) -> None:
        """Note that anything may have happened to the stream: the connection was lost, or it does not answer."""
        self._doubts += 1

    def saw(self, landmark: Landmark) -> None:
        """Note that an event was there."""
        if landmark.sequence > self._landmark.sequence:
            self._landmark = landmark

    def stored(self, landmark: Landmark, last_before: int) -> None:
        """Note that the stream has taken an event, and what `last` was when it was sent."""
        if landmark.sequence <= last_before:
            self.doubt()
        self.saw(landmark)

    async def settle(self) -> None:
        """Make sure that the stream goes on as it was, if that is in doubt."""
        if not self.is_settled:
            async with self._settling:
                if not self.is_settled:
                    await self.look()

    async def look(self, *, closely: bool = False) -> LogBounds:
        """Ask the leader what the stream holds, and make sure that it goes on as it was.

        Otherwise the log has another identity by the time this returns.

        Args:
            closely: Whether to look for the last event that we saw, and not only for its place. Where the stream is in
                doubt, that is done anyway.
        """
        doubts, lineage, known = self._doubts, self.lineage, [self._landmark]
        if not self.is_settled:
            known.append(await self._furthest_cursor())
        elif not closely:
            known = [known[0]._replace(subject="")]
        # What is known has to be known before, as the stream grows meanwhile.
        state = await self._reader.look()
        lost = await self._lost(state, known)
        if self.lineage is not lineage:
            # Somebody else found it out meanwhile: what was known is of no use any more.
            return await self.look(closely=closely)
        if lost is not None:
            state = await self._resolve(known, lineage)
            lineage = state.lineage
        if state.last > self._landmark.sequence:
            newest = await self._reader.landmark(state.last) or Landmark(state.last, "", state.last_time_ms)
            if self.lineage.log_id != lineage.log_id:
                return await self.look(closely=closely)
            self.saw(newest)
        self._settled = max(self._settled, doubts)
        return state.bounds

    async def _furthest_cursor(self) -> Landmark:
        # Another gateway has seen that place, and may be gone.
        listed = await self._subscriptions.list(None)
        last = max(listed, key=lambda each: each.committed, default=None)
        return _NOWHERE if last is None else Landmark(last.committed, "", last.commit_time_ms)

    async def _lost(self, state: State, known: Sequence[Landmark]) -> Landmark | None:
        """Tell what of that which was known the stream does not have, and had; None if it goes on as it was."""
        if state.lineage.log_id != self.lineage.log_id:
            return known[0]
        for landmark in known:
            if state.last < landmark.sequence:
                return landmark
            if landmark.subject:
                found = await self._reader.landmark(landmark.sequence)
                if found is not None and found.subject != landmark.subject:
                    return landmark
        return None

    async def _resolve(self, known: Sequence[Landmark], lineage: Lineage) -> State:
        """Find out what has become of the stream; return its state when its identity is right."""
        revision = await self._locks.put(_RENEWAL, b"", expected=0, ttl_seconds=_RENEWAL_SECONDS)
        if revision is None:
            raise NatsError("Whether its stream has lost something is just being found out.")
        try:
            if self.lineage is not lineage:
                return await self._reader.look()
            return await self._find_out(known)
        finally:
            with suppress(NatsError):
                await self._locks.delete(_RENEWAL, revision=revision)

    async def _find_out(self, known: Sequence[Landmark]) -> State:
        lost = known[0]
        for _ in range(_ATTEMPTS):
            await self._agree()
            state = await self._reader.look()
            if state.lineage.log_id != self.lineage.log_id and not self.lineage.succeeds(state.lineage):
                return self._adopt(state)
            still_lost = await self._lost(state, known)
            if still_lost is None:
                return state
            lost = still_lost
            await asyncio.sleep(_PAUSE_SECONDS)
        return await self._renew(state, lost)

    async def _agree(self) -> None:
        # It removes nothing, as no event has such a subject. A leader answers when a majority has taken it and all that
        # came before it is carried out, so whoever lags behind has caught up, and whoever is no leader does not answer.
        nothing = f"{self._names.events}.none.0.none.none"
        await ask(self._connection, f"STREAM.PURGE.{self._names.event_stream}", {"filter": nothing})

    async def _renew(self, state: State, lost: Landmark) -> State:
        # What stands there anew was taken after what is lost.
        common = await self._reader.before(state.bounds, lost.time_ms)
        lineage = self.lineage.renewed(min(common, lost.sequence))
        config = dict(state.config)
        config["metadata"] = config.get("metadata", {}) | lineage.metadata()
        await ask(self._connection, f"STREAM.UPDATE.{self._names.event_stream}", config)
        return self._adopt(await self._reader.look())

    def _adopt(self, state: State) -> State:
        _log.error(
            "newest_notifications_lost",
            before=self.lineage.log_id,
            now=state.lineage.log_id,
            unchanged_through=state.lineage.former.get(self.lineage.log_id, 0),
            last=state.last,
            advice=_ADVICE,
        )
        self.lineage, self._landmark = state.lineage, _NOWHERE
        self._subscriptions.belong_to(state.lineage)
        self._on_renewal()
        return state
