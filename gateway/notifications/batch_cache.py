"""Notifications as watchers are sent them: filtered, cut into batches and serialised once for all who want the same.

Watchers at the end of the log stand at the same few places, and most of them have the same filter. What one of them is
sent, the others are sent as well, byte for byte.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from gateway.notifications import batch_encoding
from gateway.notifications.filter import Predicate
from gateway.ports import StoredEvent

__all__ = ["BatchCache", "Message", "Page", "Wanted"]

# A watcher that does not take its batch has it held for it, here and once more by gRPC. Far below the 4 MiB that a
# client takes unless told otherwise; a single notification stays below as well.
_BATCH_BYTES: Final = 262_144
_PAGES: Final = 8
"""How many are kept: few, as each may be as large as what is read of the log at a time, and who lags that far does
better with a page of its own, whose batches are larger."""


class Wanted(NamedTuple):
    """What a watcher is sent of the events behind its place."""

    wants: Predicate
    """The same function for all watchers with the same filter."""
    max_batch_size: int
    stands: bytes
    """See `gateway.notifications.batch_encoding.standing`."""


class Message(NamedTuple):
    """A batch."""

    size: int
    """How many notifications it holds."""
    content: bytes
    """The serialised ``WatchNotificationsResponse``."""


class Page(NamedTuple):
    """What comes of the events from one place of the log to another."""

    messages: Sequence[Message]
    through: int
    """The sequence after which to go on."""


class BatchCache:
    """Makes pages, and keeps the newest of them."""

    def __init__(self, log_id: str) -> None:
        """Begin with none.

        Args:
            log_id: The log that the events come from.
        """
        self._log_id = log_id
        self._kept: OrderedDict[tuple[int, Wanted], Page] = OrderedDict()

    def find(self, after: int, wanted: Wanted) -> Page | None:
        """Find a page of events after a sequence; None if none is kept."""
        return self._kept.get((after, wanted))

    def make(self, after: int, wanted: Wanted, events: Iterable[StoredEvent], through: int) -> Page:
        """Make a page of all events after a sequence through another one."""
        passing = [stored for stored in events if wanted.wants(stored.event)]
        page = Page([self._message(part, passing, through, wanted) for part in _parts(passing, wanted)], through)
        if through > after:
            self._kept[after, wanted] = page
            if len(self._kept) > _PAGES:
                self._kept.popitem(last=False)
        return page

    def _message(
        self, part: Sequence[StoredEvent], passing: Sequence[StoredEvent], through: int, wanted: Wanted
    ) -> Message:
        place = through if part[-1] is passing[-1] else part[-1].sequence
        return Message(len(part), batch_encoding.batch(self._log_id, part, place, wanted.stands))


def _parts(events: Iterable[StoredEvent], wanted: Wanted) -> Iterator[list[StoredEvent]]:
    part: list[StoredEvent] = []
    size = 0
    for stored in events:
        length = len(stored.event.payload)
        if part and (len(part) == wanted.max_batch_size or size + length > _BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(stored)
        size += length
    if part:
        yield part
