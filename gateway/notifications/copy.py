"""Copies an event log into another one, of the same engine or not, with the cursors of its subscriptions.

Notifications keep the order of the source; those that the target already has are not stored again. The target stores
the progress, so an interrupted copy resumes, and a later copy brings what is new.

A cursor is a position in one log. It translates to another log only as far as both hold the same notifications, in the
same order and with nothing in between. The copy tracks how far that is, and moves no cursor beyond it. Watchers may get
committed notifications again from there, but never miss one.

A damaged notification of the source is left out and reported. That its place is missing in the target is no difference.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Protocol

import orjson

from gateway.ports import EventDamagedError, EventLog, KeyValueStore, LogBounds, Scope, StoredEvent, StoredSubscription

__all__ = ["Copied", "EventLogCopy", "Progress", "Side"]

_BATCH: Final = 1000
_MARK_SECONDS: Final = 366 * 86_400.0
"""How long the progress is remembered. After that, a copy compares every notification again."""


class Side(Protocol):
    """A storage to copy from or to."""

    @property
    def log(self) -> EventLog:
        """The event log."""
        ...

    @property
    def key_value_store(self) -> KeyValueStore:
        """The key-value store, which remembers the progress."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a copy, in notifications."""

    expected: int
    """The most that there was to compare at the start."""
    earlier: int = 0
    """The most that earlier copies have dealt with; they are not compared again."""
    copied: int = 0
    """Stored in the target."""
    present: int = 0
    """Present in the target already."""
    too_old: int = 0
    """Left out, because the target would not keep them."""

    @property
    def seen(self) -> int:
        """Compared so far."""
        return self.copied + self.present + self.too_old


@dataclass(frozen=True, slots=True)
class Copied:
    """The result of a complete copy."""

    progress: Progress
    """The final progress."""
    subscriptions: int
    """The number of the source's subscriptions; the target has all of them."""
    behind: Sequence[StoredSubscription]
    """Those with uncommitted notifications that are not in the target, because they were trimmed or are too old."""
    is_exact: bool
    """Whether every cursor kept its position. If not, the target has stored other notifications in between, and
    watchers get some again."""
    damaged: Sequence[int]
    """Sequences of the source's damaged notifications, which are not in the target."""
    newer: int
    """The number of notifications that the source got since the copy began; another copy brings them."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far the copy from one log to another has come."""

    through: int = 0
    """Up to this position of the source, everything is copied or need not be."""
    source_same: int = 0
    """Up to this position of the source, both logs hold the same, in the same order and with nothing in between."""
    target_same: int = 0
    """The same position in the target."""

    @property
    def is_exact(self) -> bool:
        """Whether both logs hold the same as far as the copy has come."""
        return self.source_same == self.through


class EventLogCopy:
    """One copy of a log."""

    def __init__(
        self, source: Side, target: Side, *, keep_from_ms: int | None = None, report: Callable[[Progress], None]
    ) -> None:
        """Prepare a copy.

        Args:
            source: The storage to copy from; gateways may still use it.
            target: The storage to copy into.
            keep_from_ms: The time, in milliseconds since 1970 (UTC), before which the target would keep nothing; None
                to keep everything.
            report: Called with the progress after each step.
        """
        self._source = source
        self._target = target
        self._keep_from_ms = keep_from_ms
        self._report = report
        self._progress = Progress(expected=0)
        self._damaged: list[int] = []

    async def run(self) -> Copied:
        """Copy what the source holds now.

        Raises:
            GatewayError: A storage failed. The next run resumes.
        """
        source = self._source.log
        too_old_through = 0 if self._keep_from_ms is None else await source.sequence_before(self._keep_from_ms)
        bounds = await source.bounds()
        mark = await self._begin(bounds)
        self._progress = Progress(expected=bounds.lag(mark.through), earlier=bounds.lag(0) - bounds.lag(mark.through))
        self._report(self._progress)
        mark = await self._copy_events(mark, bounds.last, too_old_through)
        subscriptions = await source.list_subscriptions()
        for each in subscriptions:
            await self._commit(each, mark, too_old_through)
        missing_through = max(bounds.trimmed_through, too_old_through)
        return Copied(
            progress=self._progress,
            subscriptions=len(subscriptions),
            behind=[each for each in subscriptions if each.committed < missing_through],
            is_exact=mark.is_exact,
            damaged=self._damaged,
            newer=(await source.bounds()).lag(mark.through),
        )

    async def _begin(self, source: LogBounds) -> _Mark:
        """Find the progress of earlier copies, in either direction."""
        target = await self._target.log.bounds()
        found = [_Mark()]
        if forward := await _mark(self._source, self._target):
            found.append(forward)
        if back := await _mark(self._target, self._source):
            found.append(_Mark(back.target_same, back.target_same, back.source_same))
        # A log restored from a backup may end before its mark.
        usable = (each for each in found if each.through <= source.last and each.target_same <= target.last)
        return max(usable, key=lambda each: each.through)

    async def _copy_events(self, mark: _Mark, end: int, too_old_through: int) -> _Mark:
        while mark.through < end:
            try:
                read = await self._source.log.read(mark.through, min(_BATCH, end - mark.through))
            except EventDamagedError as error:
                self._damaged.append(error.sequence)
                same = error.sequence if mark.is_exact else mark.source_same
                mark = replace(mark, through=error.sequence, source_same=same)
                continue
            if not read.events:
                break
            recent = [stored for stored in read.events if stored.sequence > too_old_through]
            news = await self._target.log.append_in_order([stored.event for stored in recent])
            mark = await self._advance(mark, read.through, recent, news)
            await self._target.key_value_store.put(
                _key(self._source, self._target), orjson.dumps(asdict(mark)), _MARK_SECONDS
            )
            self._progress = replace(
                self._progress,
                copied=self._progress.copied + sum(news),
                present=self._progress.present + len(news) - sum(news),
                too_old=self._progress.too_old + len(read.events) - len(recent),
            )
            self._report(self._progress)
        return mark

    async def _advance(self, mark: _Mark, through: int, copied: Sequence[StoredEvent], news: Sequence[bool]) -> _Mark:
        """Return the next mark, which includes how far both logs are the same now."""
        if not mark.is_exact:
            return replace(mark, through=through)
        last = (await self._target.log.bounds()).last
        if all(news) and last == mark.target_same + len(copied):
            return _Mark(through, through, last)
        # An earlier copy was interrupted, or someone else has stored notifications.
        same, target_same, source_same = 0, mark.target_same, mark.source_same
        while same < len(copied):
            read = await self._target.log.read(target_same, len(copied) - same)
            for stored in read.events:
                if stored.event.identity != copied[same].event.identity:
                    return _Mark(through, source_same, target_same)
                target_same, source_same, same = stored.sequence, copied[same].sequence, same + 1
            if not read.events:
                return _Mark(through, source_same, target_same)
        return _Mark(through, through, target_same)

    async def _commit(self, subscription: StoredSubscription, mark: _Mark, too_old_through: int) -> None:
        log, issuer_id, name = self._target.log, subscription.issuer_id, subscription.name
        position = await self._position(subscription.committed, mark)
        if position is None and subscription.committed < too_old_through:
            position = await self._position(too_old_through, mark)
        if position is None:
            # The target has trimmed it, and handles that itself for a subscription that it has.
            position = 0
        if await log.get_subscription(issuer_id, name) is None:
            # A new subscription has missed nothing that the target trimmed.
            position = max(position, (await log.bounds()).trimmed_through)
        await log.commit(issuer_id, name, position, subscription.commit_time_ms)

    async def _first_after(self, sequence: int) -> Sequence[StoredEvent]:
        while True:
            try:
                return (await self._source.log.read(sequence, 1)).events
            except EventDamagedError as error:
                sequence = error.sequence

    async def _position(self, committed: int, mark: _Mark) -> int | None:
        """Return the target's position before what follows a position of the source; None if it is not there."""
        following = await self._first_after(committed)
        if not following or following[0].sequence > mark.source_same:
            return mark.target_same
        event = following[0].event
        scope = Scope(event.issuer_id, event.kind, event.subject_id)
        after = 0
        while after < mark.target_same and (read := await self._target.log.read(after, _BATCH, scope)).events:
            for stored in read.events:
                # A match beyond the mark is a repetition, stored after the target trimmed the first one.
                if stored.event.identity == event.identity and stored.sequence <= mark.target_same:
                    return stored.sequence - 1
            after = read.through
        return None


async def _mark(source: Side, target: Side) -> _Mark | None:
    stored = await target.key_value_store.get(_key(source, target))
    return None if stored is None else _Mark(**orjson.loads(stored))


def _key(source: Side, target: Side) -> str:
    # With both ids, because a store may outlive its log.
    return f"log-copy/{source.log.log_id}/{target.log.log_id}"
