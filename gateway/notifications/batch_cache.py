"""Batches of notifications, filtered, cut and serialised once for all watchers that want the same.

Watchers at the end of the event log are at the same few positions, and most have the same filter. They share the
batches, byte for byte.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from gateway.notifications import batch_encoding
from gateway.notifications.filter import Predicate
from gateway.ports import StoredEvent

__all__ = ["Batch", "BatchCache", "Batches", "Selection"]

# A slow watcher has one batch waiting here and another in gRPC. Even with one more notification, a batch stays far
# below the 4 MiB that a client takes by default.
_BATCH_BYTES: Final = 262_144
_MAX_ENTRIES: Final = 8
"""Few, because an entry may be as large as one read of the event log. A watcher that lags further does better with
batches of its own, which are larger."""


class Selection(NamedTuple):
    """Which events a watcher gets, and how they are batched."""

    wants: Predicate
    """The same function for all watchers with the same filter."""
    max_batch_size: int
    watcher_fields: bytes
    """See `gateway.notifications.batch_encoding.watcher_fields`."""


class Batch(NamedTuple):
    """A batch of notifications."""

    size: int
    """The number of notifications."""
    content: bytes
    """The serialised ``WatchNotificationsResponse``."""


class Batches(NamedTuple):
    """The batches from one position of the event log to another."""

    batches: Sequence[Batch]
    through: int
    """The sequence to continue after."""


class BatchCache:
    """Makes batches, and keeps the newest."""

    def __init__(self, log_id: str) -> None:
        """Start empty, for the events of one log."""
        self._log_id = log_id
        self._cached: OrderedDict[tuple[int, Selection], Batches] = OrderedDict()

    def find(self, after: int, selection: Selection) -> Batches | None:
        """Return the cached batches of events after a sequence; None if there are none."""
        return self._cached.get((after, selection))

    def make(self, after: int, selection: Selection, events: Iterable[StoredEvent], through: int) -> Batches:
        """Make and cache the batches of all events after a sequence through another one."""
        wanted = [stored for stored in events if selection.wants(stored.event)]
        made = Batches([self._batch(part, wanted, through, selection) for part in _parts(wanted, selection)], through)
        if through > after:
            self._cached[after, selection] = made
            if len(self._cached) > _MAX_ENTRIES:
                self._cached.popitem(last=False)
        return made

    def _batch(
        self, part: Sequence[StoredEvent], wanted: Sequence[StoredEvent], through: int, selection: Selection
    ) -> Batch:
        position = through if part[-1] is wanted[-1] else part[-1].sequence
        return Batch(len(part), batch_encoding.batch(self._log_id, part, position, selection.watcher_fields))


def _parts(events: Iterable[StoredEvent], selection: Selection) -> Iterator[list[StoredEvent]]:
    part: list[StoredEvent] = []
    size = 0
    for stored in events:
        length = len(stored.event.payload)
        if part and (len(part) == selection.max_batch_size or size + length > _BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(stored)
        size += length
    if part:
        yield part
