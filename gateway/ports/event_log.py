"""The event log: the card platform's notifications, in order, kept until retention removes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

__all__ = [
    "Appendable",
    "Event",
    "EventKind",
    "EventLog",
    "LogBounds",
    "Read",
    "Scope",
    "StoredEvent",
    "StoredSubscription",
]


class EventKind(IntEnum):
    """What a notification is about. The values are stored; never change one."""

    THREE_DS_OPERATION = 1
    """A 3DS operation on a card."""
    CONSUMER_OPERATION = 2
    """An operation on a consumer."""


class Event(NamedTuple):
    """A notification to append: its bytes, and the fields for filters and the duplicate check."""

    issuer_id: str
    kind: int
    """A value of `EventKind`."""
    subject_id: str
    """The subject: the card of a 3DS operation, the consumer of a consumer operation."""
    operation_id: str
    """Identifies the operation of a subject; a repeated notification is a duplicate."""
    consumer_id: str
    """The consumer, or the card's holder; empty if unknown."""
    operation_type: int
    """A value of the kind's own type (``ThreeDSOperationType``, ``ConsumerOperationType``); 0 if unknown."""
    status: int
    """A value of the kind's own status (``ThreeDSOperationStatus``, ``ConsumerOperationStatus``); 0 if unknown."""
    receive_time_ms: int
    """Time of receipt, in milliseconds since 1970 (UTC)."""
    payload: bytes
    """The serialised ``issuer.notification.v1.Notification``, without its cursor."""


class StoredEvent(NamedTuple):
    """A stored notification."""

    sequence: int
    """Position in the log: 1 or more, increasing, possibly with gaps."""
    event: Event


@dataclass(frozen=True, slots=True)
class LogBounds:
    """The range of a log."""

    trimmed_through: int
    """Highest sequence removed by retention; 0 if none. A reader at an earlier position has missed events."""
    last: int
    """Highest sequence ever assigned; 0 for a log that never held an event."""

    def lag(self, committed: int) -> int:
        """Return how many events follow a sequence at most: there may be gaps."""
        return self.last - max(committed, self.trimmed_through)


@dataclass(frozen=True, slots=True)
class Scope:
    """Limits what a reader needs, so that a log may omit the rest."""

    issuer_id: str
    kind: int | None = None
    """The only kind; None for all."""
    subject_id: str | None = None
    """The only subject of that kind; None for all."""


class Read(NamedTuple):
    """Result of a read."""

    events: Sequence[StoredEvent]
    """Events in order. A log may return events outside the scope, or omit them."""
    through: int
    """Position to continue after: no event of the scope up to here was omitted. Not before the requested position."""
    bounds: LogBounds
    """Range of the log at the time of the read or a little later. Nothing was missed unless it is trimmed beyond the
    requested position."""


@dataclass(frozen=True, slots=True)
class StoredSubscription:
    """A named subscription."""

    issuer_id: str
    name: str
    committed: int
    """Sequence that its watcher has committed."""
    commit_time_ms: int
    """Time of the commit, in milliseconds since 1970 (UTC)."""


class Appendable(Protocol):
    """The writing side of an event log."""

    async def append(self, event: Event) -> bool:
        """Store an event durably.

        Returns:
            True if it is new, False if the log already holds one of the same issuer, kind, subject and operation.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE. The event may be stored nevertheless; a retry is then a duplicate.
        """
        ...


class EventLog(Appendable, Protocol):
    """A durable, ordered log of notifications, and the cursors of named subscriptions.

    Every method raises `gateway.errors.GatewayError` with EVENT_LOG_UNAVAILABLE when the storage fails.
    """

    @property
    def log_id(self) -> str:
        """The log's identity, created with it: 8 lower-case hexadecimal digits.

        Cursors contain it, so that a cursor of another log is recognised. If a log loses its newest events and assigns
        their positions again, its identity changes. Pending waits then raise, and every returned position belongs to
        the log with the current identity.
        """
        ...

    async def append_in_order(self, events: Sequence[Event]) -> Sequence[bool]:
        """Store several events durably and in order.

        If others append at the same time, the order may be kept only among events of a card or of a consumer.

        Returns:
            For each event, the result of `append`.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE; some may be stored, but none without those before it.
        """
        ...

    async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
        """Read at most ``limit`` events after a sequence, in order; fewer if they are large, to limit memory.

        Args:
            after: Position to read after.
            limit: Maximum number of events.
            scope: Events needed; a log may omit others if that saves work. None for all events.
        """
        ...

    async def bounds(self) -> LogBounds:
        """Return the log's current range, including other gateways' appends."""
        ...

    async def sequence_before(self, receive_time_ms: int) -> int:
        """Return the position to read after to start with the first event received at that time or later."""
        ...

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until the log holds, or may hold, an event after a sequence. Returns at once if it does."""
        ...

    async def get_subscription(self, issuer_id: str, name: str) -> StoredSubscription | None:
        """Return a subscription; None if it does not exist."""
        ...

    async def list_subscriptions(
        self, issuer_id: str | None = None, *, after: str = "", limit: int | None = None
    ) -> Sequence[StoredSubscription]:
        """List subscriptions by name.

        Args:
            issuer_id: Their issuer; None for those of all issuers, by issuer and name, without the limits below.
            after: Only those with a name after this one.
            limit: The most to return; None for all. There are no more if fewer are returned.
        """
        ...

    async def commit(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> StoredSubscription:
        """Advance a subscription's cursor, creating the subscription if needed.

        An earlier sequence than the committed one changes nothing. Returns the subscription's current state.
        """
        ...

    async def delete_subscription(self, issuer_id: str, name: str) -> bool:
        """Delete a subscription; return whether it existed."""
        ...
