"""What gateways say to each other about D1's questions."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from gateway.callbacks.model import Outcome, Topic
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["Asked", "Declined", "HasRoom", "Link", "Message", "Offer", "Presence", "Replied", "Settled", "Withdrawn"]


@dataclass(frozen=True, slots=True)
class Offer:
    """A handler that is connected to the sender."""

    number: int
    """What the sender calls it; never used for another one."""
    topics: frozenset[Topic]
    max_in_flight: int
    is_draining: bool
    has_room: bool


@dataclass(frozen=True, slots=True)
class Presence:
    """Which handlers the sender has: all of them. Said to everybody, or in answer to one that asks."""

    sender: str
    number: int
    """Counts up: of two, the higher one is the truth."""
    offers: tuple[Offer, ...]
    wants_answer: bool
    """Whether the sender asks who is there."""
    sent_at: float
    """In seconds of the sender's own clock."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The sender asks a handler of the receiver."""

    sender: str
    handler: int
    question: callback.Question
    """As a handler is sent it. Of its deadline, the time that is left counts: clocks differ."""
    sent_at: float
    """In seconds of the sender's own clock."""


@dataclass(frozen=True, slots=True)
class Declined:
    """A handler of the sender was not sent a question of the receiver: it is gone or has no room."""

    sender: str
    handler: int
    token: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The time for a question of the sender is over."""

    sender: str
    handler: int
    token: str


@dataclass(frozen=True, slots=True)
class HasRoom:
    """A handler of the sender that had no room has some now."""

    sender: str
    handler: int


@dataclass(frozen=True, slots=True)
class Replied:
    """A handler of the sender has replied to a question of the receiver."""

    sender: str
    handler: int
    """Over whose stream the reply came: perhaps not over that of the handler that was asked."""
    number: int
    """Names this in the answer."""
    reply: callback.Reply


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a reply that the receiver passed on: the answer to `Replied`."""

    sender: str
    number: int
    outcome: Outcome


Message: TypeAlias = Presence | Asked | Declined | Withdrawn | HasRoom | Replied | Settled


class Link(Protocol):
    """The way to the other gateways. What is said may be lost."""

    def broadcast(self, message: Message) -> None:
        """Say something to every gateway."""
        ...

    def send(self, gateway: str, message: Message) -> bool:
        """Say something to one; returns whether there is a way at all."""
        ...
