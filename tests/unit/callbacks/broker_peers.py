"""The two sides of a broker as they are seen: who asks, and who is asked."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from gateway.callbacks.broker import HandlerSession, Topic
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["Asked", "Peer", "Witness"]


class Witness(Protocol):
    """Sees what a handler is sent."""

    def was_sent(self, peer: "Peer", question: callback.Question) -> None: ...

    def was_withdrawn(self, peer: "Peer", token: str) -> None: ...


@dataclass(slots=True, eq=False)
class Asked:
    """A question, as who asked it sees it, and to whom it was seen to go."""

    name: str
    topic: Topic
    deadline: float
    wait_for_handler: bool
    abandon: Callable[[], None] = lambda: None
    token: str = ""
    peers: "list[Peer]" = field(default_factory=list)
    """Whom it was sent to, in that order."""
    halves: list[float] = field(default_factory=list)
    """Until when each of them had it for itself."""
    is_over: bool = False
    """Whether a reply came, or None, or nobody waits any more."""
    counting: callback.Reply | None = None
    """The reply that has to be the one that counts."""

    def __str__(self) -> str:
        return self.name


@dataclass(slots=True, eq=False)
class Peer:
    """A handler on one stream: what it was sent and has not replied to."""

    witness: Witness
    name: str
    topics: frozenset[Topic]
    max_in_flight: int
    session: HandlerSession | None = None
    held: dict[Asked, None] = field(default_factory=dict)
    unanswered: dict[Asked, int] = field(default_factory=dict)
    """What it was sent and never replied to, with its place among those that were sent it."""
    last_reply: float = -inf
    last_sent: int = 0
    """At which line of the history it was sent its last question."""
    is_draining: bool = False
    is_gone: bool = False

    def __str__(self) -> str:
        return self.name

    def send(self, question: callback.Question) -> None:
        self.witness.was_sent(self, question)

    def withdraw(self, token: str) -> None:
        self.witness.was_withdrawn(self, token)

    def could_be_slow(self, now: float, stalled_until: float) -> bool:
        """Whether, since its last reply, somebody was found to take too long for a question that it had then."""
        return any(
            until <= now and self.last_reply <= max(until, stalled_until)
            for asked, place in self.unanswered.items()
            for until in (*asked.halves[place:], asked.deadline)
        )

    @property
    def is_slow(self) -> bool:
        return self.session is not None and self.session.is_slow

    @property
    def burden(self) -> tuple[bool, int, int]:
        """What it has to do: who has the least goes first, and of equals the one that was asked longest ago."""
        return self.is_slow, len(self.held), self.last_sent

    @property
    def serves(self) -> bool:
        return not self.is_gone and not self.is_draining

    def is_willing(self, asked: Asked) -> bool:
        """Whether it could be sent a question: what the broker's contract calls a handler that can answer."""
        return (
            not self.is_gone
            and not self.is_draining
            and len(self.held) < self.max_in_flight
            and asked.topic in self.topics
            and self not in asked.peers
        )
