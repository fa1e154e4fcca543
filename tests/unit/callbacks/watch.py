"""What a random life is checked by: who takes part, what happened, and whether a promise was broken."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NoReturn, Protocol, TypeVar

from gateway.callbacks.broker import Broker, HandlerSession, Topic
from gateway.callbacks.model import CallbackRegistry
from gateway.ports import Attempts, NoReply
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_clock import VirtualClock
from tests.unit.callbacks.broker_samples import a_request

__all__ = ["OUTCOMES", "BrokenPromiseError", "Peer", "Place", "Request", "Watch", "fits"]

OUTCOMES = {value: name for name, value in callback.ReplyOutcome.items()}


class BrokenPromiseError(AssertionError):
    """A promise was not kept."""

    def __init__(self, promise: str, detail: str) -> None:
        super().__init__(f"{promise}: {detail}")
        self.promise = promise


class Place(Protocol):
    """Where handlers connect and callback requests begin: a broker, or a gateway with one."""

    @property
    def registry(self) -> CallbackRegistry: ...

    @property
    def broker(self) -> Broker: ...

    def receive(self, task: Callable[[], object]) -> None:
        """Do what comes in over a connection, now or as soon as it can be done."""


@dataclass(slots=True, eq=False)
class Request:
    """A callback request, as who waits for the reply sees it, and to whom it was seen to go."""

    name: str
    place: Place
    topic: Topic
    deadline: float
    attempts: Attempts
    wait_for_handler: bool
    token: str = ""
    abandon: Callable[[], None] = lambda: None
    peers: "Sequence[Peer]" = ()
    """Whom it was sent to, in that order."""
    unread: "set[Peer]" = field(default_factory=set)
    """Of these, who left before reading it."""

    def __str__(self) -> str:
        return self.name

    @property
    def attempt(self) -> int:
        """How many handlers have had it."""
        return len(self.peers) - len(self.unread)


@dataclass(slots=True, eq=False)
class Peer:
    """A handler on one stream: what it was sent and has not replied to."""

    watch: "Watch[Any, Any]"
    name: str
    place: Place
    topics: frozenset[Topic]
    max_in_flight: int
    held: dict[str, Any] = field(default_factory=dict)
    is_draining: bool = False
    is_gone: bool = False
    session_or_none: HandlerSession | None = None

    def __str__(self) -> str:
        return self.name

    def send(self, message: callback.CallbackRequest) -> None:
        self.watch.was_sent(self, message)

    def withdraw(self, token: str) -> bool:
        return self.watch.was_withdrawn(self, token)

    @property
    def reads(self) -> bool:
        """Whether it reads at once what it is sent. If not, it never reads what is withdrawn."""
        return int(self.name[1:]) % 2 == 0

    @property
    def session(self) -> HandlerSession:
        assert self.session_or_none is not None, f"{self.name} never got a session"
        return self.session_or_none

    @property
    def is_slow(self) -> bool:
        return self.session_or_none is not None and self.session_or_none.is_slow

    @property
    def serves(self) -> bool:
        return not self.is_gone and not self.is_draining

    def is_willing(self, request: Request) -> bool:
        """Whether it could be sent a callback request: what the contract calls a handler that can answer."""
        return (
            not self.is_gone
            and not self.is_draining
            and len(self.held) < self.max_in_flight
            and request.topic in self.topics
            and self not in request.peers
        )


P = TypeVar("P", bound=Peer)
R = TypeVar("R", bound=Request)


class Watch(ABC, Generic[P, R]):
    """Does what handlers and the platform do, and raises `BrokenPromiseError` when a promise is broken."""

    max_handlers: ClassVar[int]

    def __init__(self, clock: VirtualClock, peer_type: type[P], request_type: type[R]) -> None:
        self.clock = clock
        self.peers: list[P] = []
        self.requests: list[R] = []
        self._peer_type = peer_type
        self._request_type = request_type
        self._events: list[tuple[float, tuple[object, ...]]] = []

    # ------------------------------------------------------------------------------------------- what is done

    @abstractmethod
    def place(self, number: int) -> Place | None:
        """Return one of the places that work, if there is any."""

    def connect(self, number: int, topics: frozenset[Topic], max_in_flight: int) -> None:
        place = self.place(number)
        if place is not None:
            peer = self._peer_type(self, f"h{len(self.peers)}", place, topics, max_in_flight)
            self.tell(peer, "connects to", place, "for", topics, "and takes at once", max_in_flight)
            self.peers.append(peer)
            peer.session_or_none = place.registry.connect(peer, sorted(topics), max_in_flight)

    def drain(self, peer: P) -> None:
        self.tell(peer, "drains")
        peer.is_draining = True
        peer.place.receive(lambda: peer.place.registry.drain(peer.session))

    def disconnect(self, peer: P) -> None:
        self.tell(peer, "is gone")
        peer.is_gone = True
        if not peer.reads:
            for request in peer.held.values():
                request.unread.add(peer)
        peer.held.clear()
        peer.place.receive(lambda: self.part_from(peer))

    def part_from(self, peer: P) -> None:
        peer.place.registry.disconnect(peer.session)

    def begin(self, number: int, topic: Topic, seconds: float, *, attempts: Attempts, wait_for_handler: bool) -> None:
        place = self.place(number)
        if place is None:
            return
        name, deadline = f"q{len(self.requests)}", self.clock.time() + seconds
        request = self._request_type(name, place, topic, deadline, attempts, wait_for_handler)
        self.tell(request, "begins at", place, "of", topic, "for", seconds, "s,", attempts, f"{wait_for_handler=}")
        self.requests.append(request)
        self.begins(request)
        request.abandon = place.broker.begin(
            a_request(topic, name),
            seconds,
            lambda reply: self.has_ended(request, reply),
            attempts=attempts,
            wait_for_handler=wait_for_handler,
        )

    @abstractmethod
    def abandon(self, request: R) -> None: ...

    @abstractmethod
    def reply(self, peer: P, request: R, reply: callback.CallbackReply) -> None: ...

    def let_pass(self, when: float) -> None:
        self.tell("time passes until", when)
        self.clock.run_until(when)

    # ------------------------------------------------------------------------------------------- what is seen

    @abstractmethod
    def begins(self, request: R) -> None: ...

    @abstractmethod
    def was_sent(self, peer: P, message: callback.CallbackRequest) -> None: ...

    @abstractmethod
    def was_withdrawn(self, peer: P, token: str) -> bool: ...

    @abstractmethod
    def has_ended(self, request: R, reply: callback.CallbackReply | NoReply) -> None: ...

    @property
    def connected(self) -> Sequence[P]:
        return [peer for peer in self.peers if not peer.is_gone]

    @property
    def repliers(self) -> Sequence[P]:
        """Who may reply to anything."""
        return self.connected

    @property
    def abandonable(self) -> Sequence[R]:
        """What may be abandoned."""
        return self.requests

    # ---------------------------------------------------------------------------------------- what is checked

    @abstractmethod
    def check(self, number: int) -> None:
        """Look, after a step with that option, for what ought to have happened by now."""

    @abstractmethod
    def finish(self) -> None:
        """Let all time pass, and check what is left."""

    def tell(self, *words: object) -> None:
        """Keep what happened. It is written only if somebody reads it."""
        self._events.append((self.clock.time(), words))

    @property
    def history(self) -> list[str]:
        """What happened, a line each, for people."""
        return [f"{time:12.5f} {' '.join(map(str, words))}" for time, words in self._events]

    def broken(self, promise: str, *details: object) -> NoReturn:
        raise BrokenPromiseError(promise, " ".join(map(str, details)))


def fits(request: Request, reply: callback.CallbackReply) -> bool:
    """Return whether a reply is of the right kind."""
    return reply.WhichOneof("response") in (request.topic[1], "refusal")
