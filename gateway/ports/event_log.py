"""The event log: what came from D1, in order, kept until retention removes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = ["Appendable", "Event", "EventLog", "LogBounds", "Read", "Scope", "StoredEvent", "StoredSubscription"]


class Event(NamedTuple):
    """A notification on its way into the log: its bytes, and what filters and the duplicate check look at."""

    issuer_id: str
    kind: int
    """A value of ``issuer.notification.v1.NotificationKind``."""
    subject_id: str
    """What it is about: the card of a 3DS operation, the consumer of an operation on one."""
    operation_id: str
    """With the issuer, the kind and the subject: what makes a notification the same as an earlier one."""
    consumer_id: str
    """The consumer, or the card's holder; empty if D1 named none."""
    operation_type: int
    """A value of the kind's own type (``OperationType``, ``ConsumerOperationType``); 0 for one that is not known."""
    status: int
    """A value of the kind's own status (``OperationStatus``, ``ConsumerOperationStatus``); 0 for an unknown word."""
    receive_time_ms: int
    """When it was taken, in milliseconds since 1970 (UTC)."""
    payload: bytes
    """The serialised ``issuer.notification.v1.Notification``, without its cursor."""


class StoredEvent(NamedTuple):
    """A notification in the log."""

    sequence: int
    """Its place: 1 or more, growing, with gaps allowed."""
    event: Event


@dataclass(frozen=True, slots=True)
class LogBounds:
    """What the log holds."""

    trimmed_through: int
    """The highest sequence that retention removed; 0 if none. A reader that stood before it has missed something."""
    last: int
    """The highest sequence ever given out; 0 while the log has never held anything."""

    def lag(self, committed: int) -> int:
        """Tell how many events follow a sequence at most: there may be gaps."""
        return self.last - max(committed, self.trimmed_through)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a reader may want at all, so that a log need not hand out the rest."""

    issuer_id: str
    kind: int | None = None
    """The only kind; None for any."""
    subject_id: str | None = None
    """The only subject, of that kind; None for any."""


class Read(NamedTuple):
    """What was read of the log."""

    events: Sequence[StoredEvent]
    """In order. With a scope, others may be among them, and be left out."""
    through: int
    """Up to here nothing of the scope was left out: where to read on. At least the place that was read after."""
    bounds: LogBounds
    """What the log held then or a little later. If nothing behind the place was trimmed, none of it was missed."""


@dataclass(frozen=True, slots=True)
class StoredSubscription:
    """A named subscription."""

    issuer_id: str
    name: str
    committed: int
    """The sequence up to which its watcher is done."""
    commit_time_ms: int
    """When that was committed, in milliseconds since 1970 (UTC)."""


class Appendable(Protocol):
    """Where notifications go."""

    async def append(self, event: Event) -> bool:
        """Store an event; when this returns, it is on disk.

        Returns:
            True if it is new, False if the log holds one of the same issuer, kind, subject and operation already.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE. It may be stored all the same, and be a duplicate when it comes again.
        """
        ...


class EventLog(Appendable, Protocol):
    """A durable, ordered log of notifications, and the cursors of named subscriptions.

    Every method raises `gateway.errors.GatewayError` with EVENT_LOG_UNAVAILABLE when the storage fails.
    """

    @property
    def log_id(self) -> str:
        """The identity of this log, made with it: 8 lower-case hexadecimal digits.

        Cursors carry it, so that a cursor of another log is told apart. A log that has lost its newest events, and
        gives out their places anew, goes on under another identity. What waits meanwhile raises, and whatever returns
        a place returns one of the log that has the identity then.
        """
        ...

    async def append_in_order(self, events: Sequence[Event]) -> Sequence[bool]:
        """Store several events, each behind those before it. When this returns, all of them are on disk.

        Where others append at the same time, the order may only be kept among those of a card or of a consumer.

        Returns:
            Of each, what `append` does.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE; the first of them may be stored, but none without those before it.
        """
        ...

    async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
        """Read at most ``limit`` events after a sequence, in order.

        None if there are none. Fewer than there are where they are large: what is read stays small enough to be held.

        Args:
            after: The place to read after.
            limit: How many events at most.
            scope: Leaves out what is not in it, as far as that spares something; None for everything.
        """
        ...

    async def bounds(self) -> LogBounds:
        """Tell what the log holds now, whoever put it there."""
        ...

    async def sequence_before(self, receive_time_ms: int) -> int:
        """Tell after which sequence to read to begin with the first event taken at that time or later."""
        ...

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until the log holds an event after that sequence, or may. Returns at once if it does."""
        ...

    async def get_subscription(self, issuer_id: str, name: str) -> StoredSubscription | None:
        """Get a subscription; None if there is none."""
        ...

    async def list_subscriptions(self, issuer_id: str | None = None) -> Sequence[StoredSubscription]:
        """List an issuer's subscriptions by name; with None those of all issuers, by issuer and name."""
        ...

    async def commit(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> StoredSubscription:
        """Move a subscription's cursor forward, making the subscription if there is none.

        A sequence before the committed one changes nothing. Returns what stands now.
        """
        ...

    async def delete_subscription(self, issuer_id: str, name: str) -> bool:
        """Forget a subscription. Returns whether there was one."""
        ...
