"""Several gateways under observation: what they promise together is checked against what is seen from outside."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from d1gateway.peer.v1 import messages_pb2 as peer_messages
from gateway.callbacks.broker import Outcome
from gateway.callbacks.model import OPEN_OUTCOMES
from gateway.ports import CallbackOutcome, NoReply, outcome_of
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.cluster.cluster_network import Gateway, Network
from tests.unit.callbacks.watch import OUTCOMES, Peer, Request, Watch, fits

__all__ = ["Reply", "WatchedCluster"]

_SLACK_SECONDS = 0.1
"""How much longer a serving gateway's time may be than that of the gateway that began: what its fastest message takes,
and drift.
"""
_ARRIVED_SECONDS = 0.125
"""After this, in calm times, everybody has heard everything."""
_SETTLED_SECONDS = 0.25
_AFTERMATH_SECONDS = 8
"""In the end, what a gateway that was held up has only just sent on may last so long."""
_LEAST_AFTERMATH_SECONDS = 2
_MARK_TAG = b"\xa5\x06"
"""Of field 100, in four bytes."""
_MS = 0.001
"""What is lost when the time left goes to another gateway."""
_ROUNDING_SECONDS = 1e-9
"""What is lost when a time is taken from one clock to another."""


@dataclass(slots=True, eq=False)
class _Request(Request):
    place: Gateway
    peers: "list[_Peer]" = field(default_factory=list)
    ends: list[callback.CallbackReply | NoReply] = field(default_factory=list)
    is_abandoned: bool = False
    troubles: int = 0
    """How many troubles there had been when it began."""

    @property
    def is_open(self) -> bool:
        return not (self.ends or self.is_abandoned)


@dataclass(slots=True, eq=False)
class Reply:
    """A handler's reply, and its outcomes."""

    request: _Request
    peer: "_Peer"
    message: callback.CallbackReply
    outcomes: list[Outcome] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Peer(Peer):
    place: Gateway
    has_left: bool = False
    """Whether its gateway knows that it is gone."""
    has_room_since: float = 0.0
    undecided: set[str] = field(default_factory=set)
    """Replies without an outcome, by token: a wrong one leaves the request with it, if that is still open."""

    @property
    def is_prompt(self) -> bool:
        session = self.session_or_none
        return session is not None and session.has_room and not session.is_slow

    def is_done_with(self, token: str) -> None:
        if self.held.pop(token, None) is not None:
            self.has_room_since = self.watch.clock.time()


class WatchedCluster(Watch[_Peer, _Request]):
    """Does to gateways what handlers, the platform and fate do, and raises `BrokenPromiseError` when they err."""

    max_handlers: ClassVar = 5

    def __init__(self, seed: int, count: int, *, is_calm: bool) -> None:
        self.network = Network(seed, count, is_calm=is_calm)
        super().__init__(self.network.clock, _Peer, _Request)
        self.network.on_request = self._check_local_first
        self.replies: list[Reply] = []
        self.troubles = 0
        """How often a gateway or the network has failed."""
        self.let_pass(self.now + _SETTLED_SECONDS)

    @property
    def now(self) -> float:
        return self.clock.time()

    @property
    def alive(self) -> Sequence[Gateway]:
        return [gateway for gateway in self.network.gateways if not gateway.is_dead]

    def place(self, number: int) -> Gateway | None:
        working = [gateway for gateway in self.network.gateways if gateway.works]
        return working[number % len(working)] if working else None

    # ------------------------------------------------------------------------------------------- what is done

    def part_from(self, peer: _Peer) -> None:
        peer.has_left = True
        super().part_from(peer)

    @property
    def abandonable(self) -> Sequence[_Request]:
        return [request for request in self.requests if request.is_open and request.place.works]

    def abandon(self, request: _Request) -> None:
        self.tell("nobody waits any more for", request)
        request.is_abandoned = True
        request.place.receive(request.abandon)

    def reply(self, peer: _Peer, request: _Request, reply: callback.CallbackReply) -> None:
        self.tell(peer, "replies to", request, "with", reply.WhichOneof("response"))
        # A field that gateways do not know, by which the reply is recognised wherever it goes.
        reply.MergeFromString(_MARK_TAG + len(self.replies).to_bytes(4, "little"))
        sent = Reply(request, peer, reply)
        self.replies.append(sent)
        if fits(request, reply):
            peer.is_done_with(request.token)
        peer.undecided.add(request.token)
        relay = peer.place.relay
        peer.place.receive(lambda: relay.take(peer.session, reply, lambda outcome: self.has_outcome(sent, outcome)))

    def pause(self, gateway: Gateway) -> None:
        self._befall(gateway, "pauses")
        gateway.pause()

    def resume(self, gateway: Gateway) -> None:
        self._befall(gateway, "goes on")
        gateway.resume()

    def kill(self, gateway: Gateway) -> None:
        self._befall(gateway, "dies")
        gateway.die()
        for peer in self.peers:
            if peer.place is gateway:
                peer.is_gone = True
                peer.held.clear()

    def unplug(self, gateway: Gateway) -> None:
        self._befall(gateway, "is cut off")
        gateway.unplug()

    def plug_in(self, gateway: Gateway) -> None:
        self._befall(gateway, "is connected again")
        gateway.plug_in()

    def deafen(self, seconds: float) -> None:
        self._befall("no presence is heard for", seconds, "s")
        self.network.deaf_until = self.now + seconds

    def _befall(self, *words: object) -> None:
        self.troubles += 1
        self.tell(*words)

    # ------------------------------------------------------------------------------------------- what is seen

    def begins(self, request: _Request) -> None:
        request.troubles = self.troubles

    def was_sent(self, peer: _Peer, message: callback.CallbackRequest) -> None:
        request = self.requests[int(message.correlation_id[1:])]
        self.tell("-", peer, "is sent", request, "attempt", message.attempt)
        begun_at, server = request.place, peer.place
        if peer.has_left or not server.works:
            self.broken("only who is there is sent anything", peer, request)
        if peer.is_gone:
            # Its gateway has yet to see that.
            return
        if peer in request.peers:
            self.broken("no handler is sent a callback request twice", peer, request)
        if request.topic not in peer.topics:
            self.broken("a handler is sent what it answers", peer, request)
        slack = _ROUNDING_SECONDS if server is begun_at else _SLACK_SECONDS
        knows_delay = server is begun_at or begun_at.id in server.knows_delay_of
        if knows_delay and not begun_at.is_dead and self.now >= request.deadline + slack:
            self.broken("a callback request is sent only while there is time", peer, request)
        request.token = request.token or message.token
        if message.token != request.token or message.attempt < 1 or message.time_left.ToMilliseconds() < 0:
            self.broken("a callback request says what is so", peer, request, message)
        request.peers.append(peer)
        if request.attempt > request.attempts.most:
            self.broken("a callback request goes to no more handlers than may get it, wherever they are", peer, request)
        peer.held[message.token] = request
        self._check_room(peer)
        self._check_attempts(request)

    def was_withdrawn(self, peer: _Peer, token: str) -> bool:
        if peer.is_gone:
            return not peer.reads
        request = peer.held.get(token)
        self.tell("-", peer, "need not answer", request or token)
        if request is not None and request.is_open and self.network.is_calm and self.now < request.deadline - _MS:
            self.broken("a callback request is withdrawn when nobody waits for it", peer, request)
        # In troubles, a gateway may take a request to have expired before it has.
        is_working = peer.reads and request is not None and self.network.is_calm and self.now < request.deadline - _MS
        if not is_working:
            peer.is_done_with(token)
        return not is_working

    def has_ended(self, request: _Request, reply: callback.CallbackReply | NoReply) -> None:
        self.tell("-", request, "ends with", outcome_of(reply))
        request.ends.append(reply)
        if len(request.ends) > 1 or request.is_abandoned:
            self.broken("a callback request ends once, and not for who waits no more", request)
        if (
            isinstance(reply, CallbackOutcome)
            and self.troubles == request.troubles
            and self.now > request.deadline + _ROUNDING_SECONDS
        ):
            self.broken("without a reply a callback request ends at its deadline", request)

    def has_outcome(self, reply: Reply, outcome: Outcome) -> None:
        peer, request, name = reply.peer, reply.request, OUTCOMES[outcome]
        self.tell("- the reply of", peer, "to", request, "has the outcome", name)
        reply.outcomes.append(outcome)
        if len(reply.outcomes) > 1:
            self.broken("a reply has one outcome", peer, request)
        if outcome not in OPEN_OUTCOMES:
            peer.is_done_with(request.token)
        peer.undecided.discard(request.token)
        self._check_room(peer)
        first = request.ends[0] if request.ends else None
        counts = (
            isinstance(first, callback.CallbackReply) and first.SerializeToString() == reply.message.SerializeToString()
        )
        if outcome == callback.REPLY_OUTCOME_ACCEPTED and not counts:
            self.broken("the accepted reply is the one that counts", peer, request)
        is_registered = request.topic in peer.topics
        if is_registered if outcome == callback.REPLY_OUTCOME_NOT_REGISTERED else counts and not is_registered:
            self.broken("a reply counts over a stream that is registered for it, and over no other", peer, request)
        if outcome == callback.REPLY_OUTCOME_UNKNOWN_TOKEN and self.network.is_calm:
            self.broken("a token that was given out is known", peer, request)
        if outcome == callback.REPLY_OUTCOME_INVALID and fits(request, reply.message):
            self.broken("a reply that fits is not invalid", peer, request)
        if counts and outcome != callback.REPLY_OUTCOME_ACCEPTED and self.network.is_calm:
            self.broken("the reply that counts is accepted", peer, request, name)

    # ---------------------------------------------------------------------------------------- what is checked

    def check(self, number: int) -> None:
        """Look, while nothing fails, every now and then for what ought to have happened."""
        if not self.network.is_calm or number % 4:
            return
        self.let_pass(self.now + _SETTLED_SECONDS)
        for request in self.requests:
            if not request.is_open or request.peers:
                continue
            for peer in self.peers:
                if peer.is_willing(request) and self.now - peer.has_room_since >= _ARRIVED_SECONDS:
                    self.broken("no callback request waits while there is who can take it", peer, request)

    def finish(self) -> None:
        """Mend what can be mended, let all time pass, and look for what is left."""
        for gateway in self.network.gateways:
            if gateway.is_paused and not gateway.is_dead:
                self.resume(gateway)
            if not gateway.is_wired:
                self.plug_in(gateway)
        self.let_pass(max((request.deadline for request in self.requests), default=self.now))
        for second in range(_AFTERMATH_SECONDS):
            if second >= _LEAST_AFTERMATH_SECONDS and not any(self._left()):
                break
            self.let_pass(self.now + 1.0)
        for left in self._left():
            self.broken(*left)
        for request in self.requests:
            replies = (reply for reply in self.replies if reply.request is request)
            if sum(callback.REPLY_OUTCOME_ACCEPTED in reply.outcomes for reply in replies) > 1:
                self.broken("one reply counts", request)

    def _left(self) -> Iterator[tuple[str, object, object]]:
        """Return what is not over yet."""
        for request in self.requests:
            if request.is_open and not request.place.is_dead:
                yield "a callback request ends", request, request.place
        for reply in self.replies:
            if not reply.outcomes and not reply.peer.place.is_dead:
                yield "a reply has an outcome", reply.peer, reply.request
        for gateway in self.alive:
            if gateway.broker.size[0] or not gateway.relay.is_idle:
                yield "nothing is left in the end", gateway, gateway.broker.size
        for peer in self.peers:
            if peer.held:
                yield "what is out of time is withdrawn", peer, [*peer.held]

    def _check_local_first(self, gateway: Gateway, message: peer_messages.PeerMessage) -> None:
        request = self.requests[int(message.request.callback_request.correlation_id[1:])]
        for peer in self.peers:
            if peer.place is gateway and peer.is_willing(request) and peer.is_prompt:
                self.broken("a handler here goes first", peer, request)

    def _check_room(self, peer: _Peer) -> None:
        if len(peer.held.keys() - peer.undecided) > peer.max_in_flight:
            self.broken("no handler has more callback requests than it takes", peer, sorted(peer.held))

    def _check_attempts(self, request: _Request) -> None:
        if self.troubles > request.troubles or not self.network.is_calm:
            return
        if sum(not peer.is_gone for peer in request.peers) > request.attempts.if_slow:
            self.broken("no more handlers get it because others are slow than may", request)
