"""Copying an event log into another one, whatever engines they have, with the cursors of its subscriptions.

Notifications go in the order of the source, and those that the target has already are not stored again. How far a copy
has come stands in the target, so that one that was broken off goes on there, and a later one brings what is new.

A cursor is a place in one log. It can be said in another one as far as that holds the same, in the same order and
nothing in between: so that is looked after, and no cursor moves beyond it. From there on a watcher may be given again
what it had committed; it never misses anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Protocol

import orjson

from gateway.ports import EventLog, KeyValueStore, LogBounds, Scope, StoredEvent, StoredSubscription

__all__ = ["Copied", "EventLogCopy", "Progress", "Side"]

_BATCH: Final = 1000
_MARK_SECONDS: Final = 366 * 86_400.0
"""How long is remembered how far a copy has come. After that, every notification is looked at again."""


class Side(Protocol):
    """Of a storage, what is copied, and what remembers it."""

    @property
    def log(self) -> EventLog:
        """The event log."""
        ...

    @property
    def key_value_store(self) -> KeyValueStore:
        """The key-value store beside it."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """What this copy has done so far."""

    expected: int
    """How many notifications there were to look at when it began, at most."""
    earlier: int = 0
    """How many an earlier copy has seen to, at most; they are not looked at again."""
    copied: int = 0
    """How many were stored."""
    present: int = 0
    """How many the target had already."""
    too_old: int = 0
    """How many the target would not keep, so that they were left out."""

    @property
    def seen(self) -> int:
        """How many were looked at."""
        return self.copied + self.present + self.too_old


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did that came to its end."""

    progress: Progress
    """Of the notifications."""
    subscriptions: int
    """How many subscriptions the source has; all of them are in the target."""
    behind: Sequence[StoredSubscription]
    """Those that had not committed all of what is not in the target: it was trimmed, or is too old."""
    is_exact: bool
    """Whether every cursor is where it was. Otherwise the target has taken notifications of its own in between, and
    watchers are given some again."""
    newer: int
    """How many notifications the source has taken since the copy began; another copy brings them."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far the copy from one log to another one has come."""

    through: int = 0
    """Of the source: all up to here were copied, or need not be."""
    source_same: int = 0
    """Of the source: up to here both logs have the same notifications, in the same order and nothing in between."""
    target_same: int = 0
    """Of the target: the same place."""

    @property
    def is_exact(self) -> bool:
        """Whether that is so of all that was copied."""
        return self.source_same == self.through


class EventLogCopy:
    """One copy of a log."""

    def __init__(
        self, source: Side, target: Side, *, keep_from_ms: int | None = None, tell: Callable[[Progress], None]
    ) -> None:
        """Prepare.

        Args:
            source: What is copied from; gateways may go on to use it.
            target: What is copied into.
            keep_from_ms: What was taken before that, in milliseconds since 1970 (UTC), the target would not keep; None
                if it keeps everything at first.
            tell: Told of the progress, again and again.
        """
        self._source = source
        self._target = target
        self._keep_from_ms = keep_from_ms
        self._tell = tell
        self._progress = Progress(expected=0)

    async def run(self) -> Copied:
        """Copy what the source holds now.

        Raises:
            GatewayError: One of the storages failed. Run again, it goes on where it was.
        """
        source = self._source.log
        too_old_through = 0 if self._keep_from_ms is None else await source.sequence_before(self._keep_from_ms)
        bounds = await source.bounds()
        mark = await self._begin(bounds)
        self._progress = Progress(expected=bounds.lag(mark.through), earlier=bounds.lag(0) - bounds.lag(mark.through))
        self._tell(self._progress)
        mark = await self._copy_events(mark, bounds.last, too_old_through)
        subscriptions = await source.list_subscriptions()
        for each in subscriptions:
            await self._commit(each, mark, too_old_through)
        gone_through = max(bounds.trimmed_through, too_old_through)
        return Copied(
            progress=self._progress,
            subscriptions=len(subscriptions),
            behind=[each for each in subscriptions if each.committed < gone_through],
            is_exact=mark.is_exact,
            newer=(await source.bounds()).lag(mark.through),
        )

    async def _begin(self, source: LogBounds) -> _Mark:
        """Find out how far earlier copies have come, those the other way round too."""
        target = await self._target.log.bounds()
        found = [_Mark()]
        if there := await _mark(self._source, self._target):
            found.append(there)
        if back := await _mark(self._target, self._source):
            found.append(_Mark(back.target_same, back.target_same, back.source_same))
        # A log that was put back from a backup may end before its mark.
        usable = (each for each in found if each.through <= source.last and each.target_same <= target.last)
        return max(usable, key=lambda each: each.through)

    async def _copy_events(self, mark: _Mark, end: int, too_old_through: int) -> _Mark:
        while mark.through < end:
            read = await self._source.log.read(mark.through, min(_BATCH, end - mark.through))
            if not read.events:
                break
            kept = [stored for stored in read.events if stored.sequence > too_old_through]
            news = await self._target.log.append_in_order([stored.event for stored in kept])
            mark = await self._advance(mark, read.through, kept, news)
            await self._target.key_value_store.put(
                _key(self._source, self._target), orjson.dumps(asdict(mark)), _MARK_SECONDS
            )
            self._progress = replace(
                self._progress,
                copied=self._progress.copied + sum(news),
                present=self._progress.present + len(news) - sum(news),
                too_old=self._progress.too_old + len(read.events) - len(kept),
            )
            self._tell(self._progress)
        return mark

    async def _advance(self, mark: _Mark, through: int, copied: Sequence[StoredEvent], news: Sequence[bool]) -> _Mark:
        """Move the mark on, and find out how far both logs are the same now."""
        if not mark.is_exact:
            return replace(mark, through=through)
        last = (await self._target.log.bounds()).last
        if all(news) and last == mark.target_same + len(copied):
            return _Mark(through, through, last)
        # An earlier copy was broken off, or somebody else has stored something.
        same, target_same, source_same = 0, mark.target_same, mark.source_same
        while same < len(copied):
            read = await self._target.log.read(target_same, len(copied) - same)
            for stored in read.events:
                if _identity(stored) != _identity(copied[same]):
                    return _Mark(through, source_same, target_same)
                target_same, source_same, same = stored.sequence, copied[same].sequence, same + 1
            if not read.events:
                return _Mark(through, source_same, target_same)
        return _Mark(through, through, target_same)

    async def _commit(self, subscription: StoredSubscription, mark: _Mark, too_old_through: int) -> None:
        log, issuer_id, name = self._target.log, subscription.issuer_id, subscription.name
        place = await self._place(subscription.committed, mark)
        if place is None and subscription.committed < too_old_through:
            place = await self._place(too_old_through, mark)
        if place is None:
            # The target has trimmed it, and knows by itself what that means for a subscription that it has.
            place = 0
        if await log.get_subscription(issuer_id, name) is None:
            # One that is new there has missed nothing that the target has trimmed.
            place = max(place, (await log.bounds()).trimmed_through)
        await log.commit(issuer_id, name, place, subscription.commit_time_ms)

    async def _place(self, committed: int, mark: _Mark) -> int | None:
        """Return the place of the target before what follows a place of the source; None if the target has not that."""
        following = (await self._source.log.read(committed, 1)).events
        if not following or following[0].sequence > mark.source_same:
            return mark.target_same
        event = following[0].event
        scope = Scope(event.issuer_id, event.kind, event.subject_id)
        after = 0
        while after < mark.target_same and (read := await self._target.log.read(after, _BATCH, scope)).events:
            for stored in read.events:
                # One behind that place has come again, after the target had trimmed the first one.
                if _identity(stored) == _identity(following[0]) and stored.sequence <= mark.target_same:
                    return stored.sequence - 1
            after = read.through
        return None


async def _mark(source: Side, target: Side) -> _Mark | None:
    kept = await target.key_value_store.get(_key(source, target))
    return None if kept is None else _Mark(**orjson.loads(kept))


def _key(source: Side, target: Side) -> str:
    # Of both: a store may outlive the log beside it.
    return f"log-copy/{source.log.log_id}/{target.log.log_id}"


def _identity(stored: StoredEvent) -> tuple[str, int, str, str]:
    event = stored.event
    return event.issuer_id, event.kind, event.subject_id, event.operation_id
