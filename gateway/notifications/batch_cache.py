"""Batches of notifications, filtered, cut and serialised once for all watchers that want the same.

Watchers at the end of the event log are at the same few positions, and most have the same filter. They share the
batches, byte for byte.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from gateway.notifications import batch_encoding
from gateway.notifications.filter import Predicate
from gateway.ports import Payloads

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

    def make(self, after: int, selection: Selection, read: Payloads) -> Batches:
        """Make and cache the batches of what was read after a sequence."""
        made = Batches(list(self._batches(selection, read)), read.through)
        if read.through > after:
            self._cached[after, selection] = made
            if len(self._cached) > _MAX_ENTRIES:
                self._cached.popitem(last=False)
        return made

    def _batches(self, selection: Selection, read: Payloads) -> Iterator[Batch]:
        sequences, payloads, through, _ = read
        start = 0
        while start < len(sequences):
            some = payloads[start : start + selection.max_batch_size]
            size = max(1, bisect_right(list(accumulate(map(len, some))), _BATCH_BYTES))
            end = start + size
            position = through if end == len(sequences) else sequences[end - 1]
            content = batch_encoding.batch(
                self._log_id, sequences[start:end], some[:size], position, selection.watcher_fields
            )
            yield Batch(size, content)
            start = end
