"""Handler sessions and pending callbacks, as the broker keeps them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from gateway.aio.clock import Timer
from gateway.ports.callbacks import Attempts, CallbackOutcome, NoReply
from issuer.callback.v1 import messages_pb2 as callback

__all__ = [
    "KINDS",
    "MIN_PASS_ON_SECONDS",
    "OPEN_OUTCOMES",
    "CallbackRegistry",
    "ConnectedHandler",
    "Handler",
    "HandlerSession",
    "Membership",
    "OnEnd",
    "OnOutcome",
    "Outcome",
    "PendingCallback",
    "RelayCounts",
    "RemoteId",
    "Topic",
    "kind_of",
    "rank",
]

Topic: TypeAlias = "tuple[str, str]"
"""The issuer and the kind of callback, as `kind_of` names it."""

Outcome: TypeAlias = "callback.ReplyOutcome.ValueType"
"""The outcome of a callback reply."""

OnOutcome: TypeAlias = Callable[[Outcome], None]
"""Called once with the outcome of a callback reply."""

OnEnd: TypeAlias = Callable[[callback.CallbackReply | NoReply], None]
"""Called with the accepted callback reply, or with why none arrived in time."""

KINDS = tuple(request.name for request in callback.CallbackRequest.DESCRIPTOR.oneofs_by_name["request"].fields)
"""All kinds of callbacks."""

OPEN_OUTCOMES = frozenset(
    {
        callback.REPLY_OUTCOME_INVALID,
        callback.REPLY_OUTCOME_NOT_REGISTERED,
        callback.REPLY_OUTCOME_UNKNOWN_TOKEN,
    }
)
"""Outcomes of a reply that counts for nothing: a callback request stays open, and with the handler that has it."""

MIN_PASS_ON_SECONDS = 0.2
"""Minimum time left for slowness to give a callback request to another handler. With less, that one could hardly reply
in time, yet would do the work again."""


class RemoteId(NamedTuple):
    """The id of a handler connected to a peer."""

    gateway: str
    number: int
    """The id of its session at that peer."""


class Handler(Protocol):
    """The connection to a handler."""

    def send(self, request: callback.CallbackRequest) -> None:
        """Send a copy of a callback request, now or as soon as the handler reads on."""
        ...

    def withdraw(self, token: str) -> bool:
        """Drop a callback request that nobody waits for. Once it is dropped, a further call changes nothing.

        Returns:
            Whether the handler did not and will not get it. If not, it may be at work on it.
        """
        ...


@dataclass(slots=True, eq=False)
class HandlerSession:
    """The registration of a handler at the broker."""

    handler: Handler
    topics: frozenset[Topic]
    max_in_flight: int
    held: "dict[str, PendingCallback]" = field(default_factory=dict)
    """The callbacks, by token, that were sent to the handler and that it can still reply to."""
    is_draining: bool = False
    is_slow: bool = False
    """Whether the handler took too long for a callback request and has replied to none since."""
    last_turn: int = 0
    remote_id: RemoteId | None = None
    """The id at the peer that has the handler's stream; None for a local handler."""
    is_full: bool = False
    """Whether the peer has no room for this handler or is unreachable. Always False for a local handler."""
    on_room: Callable[[], None] | None = None
    """Called once, as soon as the handler has room and no local callback waits for it."""

    @property
    def has_room(self) -> bool:
        """Whether the handler takes another callback request."""
        return not self.is_draining and not self.is_full and len(self.held) < self.max_in_flight

    @property
    def identity(self) -> "HandlerSession | RemoteId":
        """The identity of the handler. A remote handler keeps it when its peer rejoins."""
        return self.remote_id or self


class ConnectedHandler(NamedTuple):
    """A handler with a stream at this gateway."""

    name: str
    """The name that it registered with, which need not be unique."""
    session: HandlerSession


@dataclass(slots=True)
class RelayCounts:
    """How many callback requests have passed between this gateway and its peers."""

    sent: int = 0
    """To a peer, for one of its handlers. What has no room there comes back, and may be sent again."""
    received: int = 0
    """From a peer, and given to a local handler."""


class Membership(Protocol):
    """The place of a gateway among its peers."""

    @property
    def gateway_id(self) -> str:
        """The id of this gateway, new at each start."""
        ...

    @property
    def peers(self) -> Mapping[str, int]:
        """The number of handlers that take callback requests, by the id of the peer that they are connected to."""
        ...

    @property
    def relay_counts(self) -> RelayCounts:
        """Callback requests that have passed between this gateway and its peers since its start."""
        ...


class CallbackRegistry(Protocol):
    """The registry where the handlers of a gateway connect."""

    def connect(self, handler: Handler, topics: Iterable[Topic], max_in_flight: int) -> HandlerSession:
        """Register a handler, and send it what waits for one before this returns."""
        ...

    def drain(self, session: HandlerSession) -> None:
        """Send a handler no further callback requests."""
        ...

    def disconnect(self, session: HandlerSession) -> None:
        """Unregister a handler, and pass its open callback requests on to others."""
        ...

    def take(self, session: HandlerSession, reply: callback.CallbackReply, on_outcome: OnOutcome) -> None:
        """Take a valid callback reply. `on_outcome` is called at once or later."""
        ...

    def refresh(self, request: callback.CallbackRequest) -> bool:
        """Set the time left of a callback request that is about to be sent; return whether any is left."""
        ...

    def begin_drain(self) -> None:
        """Take no further callback requests from peers, because this gateway shuts down."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for a reply of a local handler."""
        ...


@dataclass(slots=True, eq=False)
class PendingCallback:
    """A callback without an accepted reply, or one that a handler still holds."""

    message: callback.CallbackRequest
    topic: Topic
    number: int
    """The position in the order of arrival."""
    deadline: float
    on_end: OnEnd | None
    """None once the callback has ended."""
    attempts: Attempts
    wait_for_handler: bool
    tried: "dict[HandlerSession | RemoteId, HandlerSession]" = field(default_factory=dict)
    """All handlers that got the callback request, in order, disconnected ones included; not those that disconnected
    before they could read it."""
    holders: set[HandlerSession] = field(default_factory=set)
    last_session: HandlerSession | None = None
    """The handler that has half of the remaining time to itself; None before the first one or after it disconnected."""
    is_waiting: bool = False
    """Whether the next handler with room gets it."""
    expiry: Timer | None = None
    timer: Timer | None = None
    """Ends the time that the last handler has to itself, or the wait for another handler if that one is slow."""

    def can_be_sent(self, now: float) -> bool:
        """Return whether another handler may get it. Stricter limits apply while the last one is still connected."""
        left = self.deadline - now
        if len(self.tried) >= self.attempts.most:
            return False
        if self.last_session is None:
            return left > 0
        return left >= MIN_PASS_ON_SECONDS and len(self.tried) < self.attempts.if_slow

    @property
    def is_exhausted(self) -> bool:
        """Whether no handler has it, and no further one may get it."""
        return not self.holders and len(self.tried) >= self.attempts.most

    @property
    def no_reply(self) -> NoReply:
        """Why there is no reply, at the end."""
        if not self.tried:
            return CallbackOutcome.NO_HANDLER
        return CallbackOutcome.EXHAUSTED if self.is_exhausted else CallbackOutcome.FALLBACK

    def fits(self, reply: callback.CallbackReply) -> bool:
        """Return whether a callback reply is of the same kind, or a refusal."""
        return reply.WhichOneof("response") in {self.topic[1], "refusal"}

    def set_timer(self, timer: Timer | None) -> None:
        """Replace the running timer, if any."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = timer

    def __lt__(self, other: "PendingCallback") -> bool:
        """Return whether this callback is more urgent."""
        return (self.deadline, self.number) < (other.deadline, other.number)


def kind_of(request: callback.CallbackRequest) -> str:
    """Return the kind of a callback request: the name of its request field and of the matching reply field."""
    kind = request.WhichOneof("request")
    if kind is None:
        raise ValueError("a callback request without content")
    return kind


def rank(session: HandlerSession) -> tuple[bool, bool, int, int]:
    """Return the rank of a handler among those with room; the lowest is asked first."""
    return session.is_slow, session.remote_id is not None, len(session.held), session.last_turn
