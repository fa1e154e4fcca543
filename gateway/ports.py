"""What the gateway asks of the outside. Adapters implement these protocols; the gateway imports nothing else of them.

The protobuf messages are the model: a port takes and returns them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2
from issuer.card.v1 import messages_pb2 as card
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.threeds.v1 import areq_pb2, ares_pb2, crd_pb2, operation_pb2, rreq_pb2

__all__ = [
    "Appendable",
    "Authenticators",
    "Call",
    "CallbackBus",
    "CardDataEncryption",
    "CardIssuer",
    "Consumers",
    "Event",
    "EventLog",
    "HistoryPage",
    "KeyValueStore",
    "Lease",
    "LogBounds",
    "OperationHistory",
    "Read",
    "Scope",
    "StoredEvent",
    "StoredSubscription",
    "SubscriptionLeases",
    "ThreeDSServer",
]


@dataclass(frozen=True, slots=True)
class Call:
    """What an outbound call has to know of the call that causes it."""

    issuer_id: str
    """The issuer on whose behalf it is made."""
    correlation_id: str
    """Goes to the upstream as ``x-correlation-id`` and into every log line."""
    deadline: float | None = None
    """When the caller stops waiting, in seconds of the event loop's clock; None if it waits as long as it takes."""

    def remaining_seconds(self) -> float | None:
        """Tell how much time is left, never less than 0; None without a deadline."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - asyncio.get_running_loop().time())


class CardIssuer(Protocol):
    """The card life cycle at the issuer's card system (D1).

    Every method returns when the upstream has answered, and raises `gateway.errors.GatewayError` otherwise; its outcome
    tells whether the upstream may have acted.
    """

    async def create_card(self, request: card.CreateCardRequest, call: Call) -> card.CreateCardResponse:
        """Have a card made. Not idempotent."""
        ...

    async def register_card(self, request: card.RegisterCardRequest, call: Call) -> card.RegisterCardResponse:
        """Register a card under the caller's id. Idempotent."""
        ...

    async def renew_card(self, request: card.RenewCardRequest, call: Call) -> card.RenewCardResponse:
        """Tell of a new expiry, perhaps with a new id."""
        ...

    async def replace_card(self, request: card.ReplaceCardRequest, call: Call) -> card.ReplaceCardResponse:
        """Replace a card by one with a new PAN."""
        ...

    async def delete_card(self, request: card.DeleteCardRequest, call: Call) -> card.DeleteCardResponse:
        """Delete a card for good."""
        ...

    async def suspend_card(self, request: card.SuspendCardRequest, call: Call) -> card.SuspendCardResponse:
        """Suspend an active card."""
        ...

    async def resume_card(self, request: card.ResumeCardRequest, call: Call) -> card.ResumeCardResponse:
        """Resume a suspended card."""
        ...


class HistoryPage(NamedTuple):
    """A part of a card's operations."""

    operations: Sequence[operation_pb2.Operation]
    """Newest first."""
    remaining: int
    """How many older ones follow."""


class OperationHistory(Protocol):
    """The 3DS operations of each card, as the card system (D1) keeps them. Raises as `CardIssuer` does."""

    async def list_operations(self, card_id: str, offset: int, limit: int, call: Call) -> HistoryPage:
        """List operations, newest first.

        Args:
            card_id: The card.
            offset: How many of the newest to pass over; what is new since the last call counts too.
            limit: How many at most, 1 to 50.
            call: For whom, and until when.
        """
        ...

    async def get_operation(self, card_id: str, operation_id: str, call: Call) -> operation_pb2.Operation:
        """Get one operation."""
        ...


class Authenticators(Protocol):
    """The 3DS authenticators that consumers have enrolled (at D1). Raises as `CardIssuer` does."""

    async def delete_credentials(
        self, request: consumer.DeleteCredentialsRequest, call: Call
    ) -> consumer.DeleteCredentialsResponse:
        """Remove the authenticator of one installation of the issuer's app."""
        ...


class Consumers(Protocol):
    """The consumers that the card system (D1) knows. Raises as `CardIssuer` does."""

    async def register_consumer(
        self, request: consumer.RegisterConsumerRequest, call: Call
    ) -> consumer.RegisterConsumerResponse:
        """Register a consumer, or change what is kept of one. Idempotent."""
        ...

    async def delete_consumer(
        self, request: consumer.DeleteConsumerRequest, call: Call
    ) -> consumer.DeleteConsumerResponse:
        """Delete a consumer for good."""
        ...


class CardDataEncryption(Protocol):
    """Encrypts what stands on a card for the card system (D1)."""

    def encrypt(self, issuer_id: str, details: replies_pb2.CardDetails) -> str:
        """Encrypt.

        Args:
            issuer_id: Whose card it is; one that is configured.
            details: What stands on it.

        Returns:
            A compact JWE.
        """
        ...


class CallbackBus(Protocol):
    """Carries a question to a handler, and the one reply that counts back."""

    async def ask(self, question: callback.Question, seconds: float, *, waits: bool = True) -> callback.Reply | None:
        """Ask.

        Args:
            question: Its issuer, correlation id and request; the bus fills in the rest.
            seconds: How long there is for the reply.
            waits: Whether there is a point in waiting for a handler to connect while none is.

        Returns:
            A reply that keeps its contract and fits the question; None if none came in time.
        """
        ...


class ThreeDSServer(Protocol):
    """A 3-D Secure server, which speaks with the directory servers and through them with the cards' ACS.

    Every method returns when the server has answered, and raises `gateway.errors.GatewayError` otherwise; its outcome
    tells whether the request may have taken effect. An Erro of any party is such an error, but for those that are an
    answer to what was asked.
    """

    async def lookup(self, acct_number: str, ds: str, call: Call) -> crd_pb2.CRD | None:
        """Ask what the directory server knows of a card. Idempotent: repeated where that can help.

        Args:
            acct_number: The card's account number (PAN).
            ds: The directory server to ask; empty for the one that the number leads to.
            call: For whom, and until when.

        Returns:
            The card range data, with the id of the transaction that was opened; None if the card takes no part.
        """
        ...

    async def authenticate(self, areq: areq_pb2.AReq, call: Call) -> ares_pb2.ARes:
        """Authenticate a cardholder. Not idempotent: never repeated once it was sent.

        Args:
            areq: The request, whole and by the rules of its version, channel and category.
            call: For whom, and until when.

        Returns:
            The answer, which is of the same transaction and version as the request.
        """
        ...

    async def challenge_result(self, three_ds_server_trans_id: str, call: Call) -> rreq_pb2.RReq | None:
        """Get the result of a challenge or a decoupled authentication. Idempotent: repeated where that can help.

        Args:
            three_ds_server_trans_id: The transaction.
            call: For whom, and until when.

        Returns:
            The result, which is of that transaction; None if it has not come yet. A transaction that the server does
            not know is an error: THREE_DS_TRANSACTION_UNKNOWN.
        """
        ...


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


class KeyValueStore(Protocol):
    """Small values that are on disk when a write returns, and gone when their time is over.

    Every method raises `gateway.errors.GatewayError` with STORE_UNAVAILABLE when the storage fails.
    """

    async def get(self, key: str) -> bytes | None:
        """Get a value; None if there is none, or none any more."""
        ...

    async def put_if_absent(self, key: str, value: bytes, ttl_seconds: float) -> bytes | None:
        """Store a value unless there is one. Of several that try at the same time, one succeeds.

        Returns:
            None if it was stored; otherwise the value that stands.
        """
        ...

    async def put(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Store a value, whatever stood there."""
        ...

    async def delete(self, key: str, value: bytes) -> None:
        """Forget a value if it still stands; that there is none, or another one, is no failure.

        Where this raises or is cancelled it may be done all the same, and late: even then what has taken the value's
        place stays, unless it is the same again.
        """
        ...


class Lease(Protocol):
    """The right of this process to have the active watcher of a named subscription."""

    @property
    def fence(self) -> int:
        """More than in every earlier lease of the subscription, whichever process had it, over restarts too."""
        ...

    def is_held(self) -> bool:
        """Tell whether the right still stands; once it does not, it never does again.

        Waits for nothing and asks nobody, so that nothing comes between the answer and what is done upon it. No other
        process is granted the subscription before this says no, however long this one was held up.
        """
        ...


class SubscriptionLeases(Protocol):
    """Which of several gateways has the active watcher of a named subscription, and how many watchers each has.

    The watchers that a gateway has of one subscription share its lease: one of them at a time asks for it.
    """

    def set_watchers(self, issuer_id: str, name: str, count: int) -> None:
        """Note how many watchers this process has, before the first one asks for the lease.

        If there are none any more, the lease is given back at once.
        """
        ...

    async def acquire(self, issuer_id: str, name: str, on_loss: Callable[[], None]) -> Lease | None:
        """Try to get the lease. One that this process has is replaced, by one with a larger fence.

        Args:
            issuer_id: The subscription's issuer.
            name: The subscription's name.
            on_loss: Called when the lease is lost; not when it is given back or replaced.

        Returns:
            None if another process has it, if nobody can tell, or if all watchers of this process left meanwhile.

        Raises:
            GatewayError: EVENT_LOG_UNAVAILABLE, where nothing is to be had without the storage.
        """
        ...

    async def wait_free(self, issuer_id: str, name: str) -> None:
        """Wait until there is a point in trying again."""
        ...

    def watchers(self, issuer_id: str) -> Mapping[str, int]:
        """Tell how many watchers an issuer's subscriptions have by name, at all gateways; without those of none."""
        ...
