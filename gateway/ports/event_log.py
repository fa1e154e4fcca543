"""The event log: the card platform's notifications, in order, kept until retention removes them."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple, Protocol, Self, TypeAlias

from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2

__all__ = [
    "Appendable",
    "Event",
    "EventDamagedError",
    "EventIdentity",
    "EventKind",
    "EventLog",
    "LogBounds",
    "Payloads",
    "Read",
    "Scope",
    "StoredEvent",
    "StoredSubscription",
]


EventIdentity: TypeAlias = tuple[str, int, str, str, int, int, str]
"""What makes an event a duplicate: issuer, kind, subject, operation, type, status and state."""


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
    """Identifies the operation of a subject. A later state of it is a further event."""
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
    state: str = ""
    """Any text that tells the reported state from others; empty if type and status do, because both are known."""

    @property
    def identity(self) -> EventIdentity:
        """What a duplicate has in common with it."""
        of_operation = self.issuer_id, self.kind, self.subject_id, self.operation_id
        return (*of_operation, self.operation_type, self.status, self.state)


class StoredEvent(NamedTuple):
    """A stored notification."""

    sequence: int
    """Position in the log: 1 or more, increasing, possibly with gaps."""
    event: Event


class EventDamagedError(GatewayError):
    """The next event is not what was stored, or is missing: EVENT_DAMAGED."""

    def __init__(self, sequence: int, *, is_skipped: bool = False) -> None:
        """Name the event.

        Args:
            sequence: Its sequence.
            is_skipped: Whether an operator has decided to go without it.
        """
        super().__init__(
            error_pb2.ERROR_REASON_EVENT_DAMAGED,
            f"Notification {sequence} in the event log is damaged. The gateway's operators have to restore the event "
            "log, or to skip the notification: d1-gateway log check.",
        )
        self.sequence = sequence
        self.is_skipped = is_skipped


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


class Payloads(NamedTuple):
    """Result of a read for someone who wants only what is sent."""

    sequences: Sequence[int]
    """The wanted events' positions, in order."""
    payloads: Sequence[bytes]
    """Their bytes, as many."""
    through: int
    """See `Read.through`."""
    bounds: LogBounds
    """See `Read.bounds`."""

    @classmethod
    def of(cls, read: Read, wants: Callable[[Event], bool]) -> Self:
        """Return the payloads of those events that are wanted."""
        wanted = [stored for stored in read.events if wants(stored.event)]
        return cls(
            [sequence for sequence, _ in wanted], [event.payload for _, event in wanted], read.through, read.bounds
        )


@dataclass(frozen=True, slots=True)
class StoredSubscription:
    """A named subscription."""

    issuer_id: str
    name: str
    committed: int
    """Sequence that its watcher has committed."""
    commit_time_ms: int
    """Time of the commit or reset, in milliseconds since 1970 (UTC)."""
    fencing_token: int = 0
    """Fencing token of the watcher that became active last; 0 if none did."""
    stale_through: int = 0
    """Highest fencing token from before the last reset; 0 if there was none. Its commits no longer count."""

    def is_stale(self, fencing_token: int) -> bool:
        """Return whether a fencing token is from before the last reset; 0 stands for no token, and is not."""
        return 0 < fencing_token <= self.stale_through

    def committed_at(self, sequence: int, time_ms: int, fencing_token: int) -> Self:
        """Return the subscription after a commit: unchanged if the cursor would not advance, or the token is stale."""
        if sequence <= self.committed or self.is_stale(fencing_token):
            return self
        return replace(self, committed=sequence, commit_time_ms=time_ms)

    def watched_with(self, fencing_token: int) -> Self:
        """Return the subscription after a watcher became active: unchanged if a later one did before."""
        return replace(self, fencing_token=max(self.fencing_token, fencing_token))

    def reset_to(self, sequence: int, time_ms: int, fencing_token: int) -> Self | None:
        """Return the subscription after a reset, which makes all tokens until now stale; None if it has another one."""
        if fencing_token != self.fencing_token:
            return None
        return replace(self, committed=sequence, commit_time_ms=time_ms, stale_through=self.fencing_token)


class Appendable(Protocol):
    """The writing side of an event log."""

    async def append(self, event: Event) -> bool:
        """Store an event durably.

        Returns:
            True if it is new, False if the log already holds one of the same identity.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE. The event may be stored nevertheless; a retry is then a duplicate.
        """
        ...


class EventLog(Appendable, Protocol):
    """A durable, ordered log of notifications, and the cursors of named subscriptions.

    Every method raises `gateway.errors.GatewayError` with EVENT_LOG_UNAVAILABLE when the storage fails, and those that
    read with EVENT_DAMAGED when it no longer holds what was stored.
    """

    @property
    def damage(self) -> Collection[str]:
        """What was found damaged since the start, each in a few words."""
        ...

    @property
    def damaged_events(self) -> Collection[str]:
        """The part of it that ends streams: events, and the structure of the storage; not a damaged subscription."""
        ...

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

        Raises:
            EventDamagedError: The first of them is damaged. A read ends before one that is not the first.
        """
        ...

    async def read_payloads(self, after: int, limit: int, issuer_id: str) -> Payloads:
        """As `read`, but return the payloads alone, and those of one issuer's events only.

        Args:
            after: Position to read after.
            limit: Maximum number of events to read; fewer may be the issuer's.
            issuer_id: The issuer.

        Raises:
            EventDamagedError: The first of them, whosever it was, is damaged.
        """
        ...

    async def skip(self, sequence: int) -> bool:
        """Record that watchers may pass a damaged event; return False, without a change, if it is not damaged."""
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

    async def create_subscription(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> bool:
        """Create a subscription with a committed sequence; return False, without a change, if it exists."""
        ...

    async def commit(
        self, issuer_id: str, name: str, sequence: int, commit_time_ms: int, fencing_token: int = 0
    ) -> StoredSubscription:
        """Advance a subscription's cursor, creating the subscription if needed; see `StoredSubscription.committed_at`.

        Args:
            issuer_id: The subscription's issuer.
            name: The subscription's name.
            sequence: The sequence to commit. An earlier one than the committed one changes nothing.
            commit_time_ms: The time, in milliseconds since 1970 (UTC).
            fencing_token: That of the watcher that commits; 0 if it is not to be checked.

        Returns:
            The subscription's current state.
        """
        ...

    async def begin_watch(self, issuer_id: str, name: str, fencing_token: int) -> StoredSubscription | None:
        """Record that a watcher has become active, and return where it begins; None if there is no subscription.

        A reset is either seen by this, or fails because of it.
        """
        ...

    async def reset_subscription(
        self, issuer_id: str, name: str, sequence: int, commit_time_ms: int, fencing_token: int
    ) -> StoredSubscription | None:
        """Move a subscription's cursor, back or forth, creating the subscription if needed.

        Args:
            issuer_id: The subscription's issuer.
            name: The subscription's name.
            sequence: The new committed sequence.
            commit_time_ms: The time, in milliseconds since 1970 (UTC).
            fencing_token: The subscription's latest one, as known to the caller; 0 if it has none.

        Returns:
            The subscription's new state; None if its latest fencing token is another one. Then nothing was changed.
        """
        ...

    async def delete_subscription(self, issuer_id: str, name: str) -> bool:
        """Delete a subscription; return whether it existed."""
        ...
