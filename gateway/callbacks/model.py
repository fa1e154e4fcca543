"""What the broker knows of a handler and of a question."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from gateway.aio.clock import Timer
from issuer.callback.v1 import messages_pb2 as callback

__all__ = [
    "KINDS",
    "LEAST_SECONDS",
    "CallbackRegistry",
    "Handler",
    "HandlerSession",
    "OnEnd",
    "Outcome",
    "PendingCallback",
    "RemoteId",
    "Tell",
    "Topic",
    "kind_of",
    "rank",
]

Topic: TypeAlias = "tuple[str, str]"
"""Whom and what a question is for: the issuer, and the kind as `kind_of` names it."""

Outcome: TypeAlias = "callback.ReplyOutcome.ValueType"
"""What became of a reply."""

Tell: TypeAlias = Callable[[Outcome], None]
"""Told once what became of a reply."""

OnEnd: TypeAlias = Callable[[callback.Reply | None], None]
"""Told how a question ended: with the reply that counts, or with None if there was none in time."""

KINDS = tuple(request.name for request in callback.Question.DESCRIPTOR.oneofs_by_name["request"].fields)
"""Every kind of question."""

_MOST_ASKED = 3
"""A question that so many handlers have had is not passed on because they dawdle: each of them may yet do the work, and
a consumer get one OTP as many times."""

LEAST_SECONDS = 0.2
"""With less time than this a question is not passed on because a handler dawdles: the next one would hardly be heard in
time, and yet do the work once more."""


class RemoteId(NamedTuple):
    """Names a handler of another gateway."""

    gateway: str
    number: int
    """What that gateway calls it."""


class Handler(Protocol):
    """The way to a connected handler."""

    def send(self, question: callback.Question) -> None:
        """Send it a question, now or as soon as it reads on. The message is its own."""
        ...

    def withdraw(self, token: str) -> None:
        """Do not send a question that it has not taken yet: its time is over."""
        ...


@dataclass(slots=True, eq=False)
class HandlerSession:
    """A handler's place at the broker, as `gateway.callbacks.broker.Broker.connect` gives it."""

    handler: Handler
    topics: frozenset[Topic]
    max_in_flight: int
    held: "dict[str, PendingCallback]" = field(default_factory=dict)
    """By token, the questions that it was sent, has not replied to, and still could."""
    is_draining: bool = False
    is_tardy: bool = False
    """Whether it has taken too long for a question, and replied to none since."""
    last_turn: int = 0
    remote_id: RemoteId | None = None
    """Which handler of another gateway it is; None if its stream is here."""
    is_full: bool = False
    """Whether its own gateway has no room for it left, or cannot be reached: only of a handler of another gateway."""
    on_room: Callable[[], None] | None = None
    """Called once, as soon as it has room that nothing here waits for."""

    @property
    def has_room(self) -> bool:
        """Whether it takes a further question."""
        return not self.is_draining and not self.is_full and len(self.held) < self.max_in_flight

    @property
    def who(self) -> "HandlerSession | RemoteId":
        """Whoever sits there: a handler of another gateway is the same one when that gateway is heard again."""
        return self.remote_id or self


class CallbackRegistry(Protocol):
    """Where the handlers of a gateway sign in."""

    def connect(self, handler: Handler, topics: Iterable[Topic], max_in_flight: int) -> HandlerSession:
        """Let a handler take part. What waits for one is sent to it before this returns."""
        ...

    def drain(self, session: HandlerSession) -> None:
        """Send a handler no further questions."""
        ...

    def disconnect(self, session: HandlerSession) -> None:
        """Let a handler go; others get what it leaves undone."""
        ...

    def take(self, session: HandlerSession, reply: callback.Reply, tell: Tell) -> None:
        """Take a handler's reply, which keeps its contract; what became of it is told at once or in a while."""
        ...

    def refresh(self, message: callback.Question) -> bool:
        """Set how long there is for a question that is sent just now; returns whether there is any time."""
        ...

    def leave(self) -> None:
        """Take no further questions of other gateways: this one shuts down."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for what a handler here replies."""
        ...


@dataclass(slots=True, eq=False)
class PendingCallback:
    """A question that has no reply yet, or that a handler has not finished with."""

    message: callback.Question
    topic: Topic
    number: int
    """Counts up, in the order in which questions are asked."""
    deadline: float
    on_end: OnEnd | None
    """None once it has ended."""
    wait_for_handler: bool
    tried: "dict[HandlerSession | RemoteId, HandlerSession]" = field(default_factory=dict)
    """Who has had it, in that order, those that are gone included."""
    holders: set[HandlerSession] = field(default_factory=set)
    asked_last: HandlerSession | None = None
    """Who has until half of the time that is left. None if nobody was asked, or that one is gone."""
    is_waiting: bool = False
    """Whether it is for the next handler that can take it."""
    expiry: Timer | None = None
    patience: Timer | None = None
    """Until when nobody else is asked; or, if it waits because its handlers dawdle, until when it does."""

    def may_be_given(self, now: float) -> bool:
        """Tell whether a further handler may be asked. There are bounds if the last one is still there."""
        left = self.deadline - now
        if self.asked_last is None:
            return left > 0
        return left >= LEAST_SECONDS and len(self.tried) < _MOST_ASKED

    def fits(self, reply: callback.Reply) -> bool:
        """Tell whether a reply is of its kind, or a refusal."""
        return reply.WhichOneof("response") in {self.topic[1], "refusal"}

    def set_patience(self, timer: Timer | None) -> None:
        """Replace the patience that there was."""
        if self.patience is not None:
            self.patience.cancel()
        self.patience = timer

    def __lt__(self, other: "PendingCallback") -> bool:
        """Tell which is more urgent."""
        return (self.deadline, self.number) < (other.deadline, other.number)


def kind_of(question: callback.Question) -> str:
    """Name the kind of a question: the field of its request, which is also the field of a reply that fits."""
    kind = question.WhichOneof("request")
    if kind is None:
        raise ValueError("a question without a request")
    return kind


def rank(session: HandlerSession) -> tuple[bool, bool, int, int]:
    """Tell how a handler stands among those that could take a question: the least goes first."""
    return session.is_tardy, session.remote_id is not None, len(session.held), session.last_turn
