"""Several gateways under observation: what they promise together is checked against what handlers and askers see."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from d1gateway.peer.v1 import messages_pb2 as peer_messages
from gateway.callbacks.broker import HandlerSession, Outcome, Topic
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_samples import a_question
from tests.unit.callbacks.broker_watch import BrokenPromiseError
from tests.unit.callbacks.cluster.cluster_network import Gateway, Network

__all__ = ["Peer", "Query", "Reply", "WatchedCluster"]

_MOST_ASKED_BECAUSE_OTHERS_DAWDLE = 3
_SLACK_SECONDS = 0.1
"""How much longer than the asker's a serving gateway's time may be: what its fastest message takes, and drift."""

_ARRIVED_SECONDS = 0.125
"""After this, in calm times, everybody has heard everything."""
_MARK_TAG = b"\xa5\x06"
"""Of field 100, in four bytes."""
_ROUNDING_SECONDS = 1e-9
"""What is lost when a time is taken from one clock to another."""


@dataclass(slots=True, eq=False)
class Query:
    """A question, as who asked it sees it, and to whom it was seen to go."""

    name: str
    topic: Topic
    gateway: Gateway
    deadline: float
    token: str = ""
    abandon: Callable[[], None] = lambda: None
    peers: "list[Peer]" = field(default_factory=list)
    ends: list[callback.Reply | None] = field(default_factory=list)
    is_abandoned: bool = False
    troubles: int = 0
    """How many troubles there had been when it was asked."""


@dataclass(slots=True, eq=False)
class Reply:
    """A handler's reply, and what it was told became of it."""

    query: Query
    peer: "Peer"
    message: callback.Reply
    told: list[Outcome] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Peer:
    """A handler on one stream: what it was sent and has not replied to."""

    watch: "WatchedCluster"
    name: str
    gateway: Gateway
    topics: frozenset[Topic]
    max_in_flight: int
    session: HandlerSession | None = None
    held: dict[str, Query] = field(default_factory=dict)
    is_draining: bool = False
    is_gone: bool = False
    has_left: bool = False
    """Whether its gateway knows that it is gone."""
    has_room_since: float = 0.0
    undecided: set[str] = field(default_factory=set)
    """What it has replied to and not been told of: a wrong reply leaves the question with it, if that is still open."""

    def send(self, question: callback.Question) -> None:
        self.watch.was_sent(self, question)

    def withdraw(self, token: str) -> None:
        self.watch.tell(f"  {self.name} need not answer {token}")
        self.is_done_with(token)

    def is_done_with(self, token: str) -> None:
        if self.held.pop(token, None) is not None:
            self.has_room_since = self.watch.now

    @property
    def serves(self) -> bool:
        return not self.is_gone and not self.is_draining

    def could_take(self, query: Query) -> bool:
        return (
            self.serves
            and len(self.held) < self.max_in_flight
            and query.topic in self.topics
            and self not in query.peers
        )


class WatchedCluster:
    """Does to gateways what handlers, askers and fate do, and raises `BrokenPromiseError` when they err."""

    def __init__(self, seed: int, count: int, *, is_calm: bool) -> None:
        self.network = Network(seed, count, is_calm=is_calm)
        self.network.on_asked = self._check_local_first
        self.queries: list[Query] = []
        self.peers: list[Peer] = []
        self.replies: list[Reply] = []
        self.history: list[str] = []
        self.troubles = 0
        """How often a gateway or the network has failed."""
        self.let_pass(0.25)

    # ------------------------------------------------------------------------------------------- what is done

    def connect(self, gateway: Gateway, topics: frozenset[Topic], max_in_flight: int) -> None:
        peer = Peer(self, f"h{len(self.peers)}", gateway, topics, max_in_flight)
        self.tell(f"{peer.name} connects to {_name(gateway)} for {sorted(topics)}, {max_in_flight} at once")
        self.peers.append(peer)
        peer.session = gateway.relay.connect(peer, sorted(topics), max_in_flight)

    def drain(self, peer: Peer) -> None:
        self.tell(f"{peer.name} drains")
        peer.is_draining = True
        session = _session_of(peer)
        peer.gateway.receive(lambda: peer.gateway.relay.drain(session))

    def disconnect(self, peer: Peer) -> None:
        self.tell(f"{peer.name} is gone")
        peer.is_gone = True
        peer.held.clear()
        peer.gateway.receive(lambda: self._part_from(peer))

    def _part_from(self, peer: Peer) -> None:
        peer.has_left = True
        peer.gateway.relay.disconnect(_session_of(peer))

    def ask(self, gateway: Gateway, topic: Topic, seconds: float, *, wait_for_handler: bool) -> None:
        query = Query(f"q{len(self.queries)}", topic, gateway, self.now + seconds, troubles=self.troubles)
        self.tell(f"{query.name} is asked at {_name(gateway)}, {topic} within {seconds} s, {wait_for_handler=}")
        self.queries.append(query)

        def on_end(reply: callback.Reply | None) -> None:
            self.has_ended(query, reply)

        query.abandon = gateway.broker.begin(
            a_question(topic, query.name), seconds, on_end, wait_for_handler=wait_for_handler
        )

    def abandon(self, query: Query) -> None:
        self.tell(f"nobody waits for {query.name} any more")
        query.is_abandoned = True
        query.gateway.receive(query.abandon)

    def reply(self, peer: Peer, query: Query, message: callback.Reply) -> None:
        self.tell(f"{peer.name} replies to {query.name}: {message.WhichOneof('response')}")
        # A field that gateways do not know, by which the reply is recognised wherever it goes.
        message.MergeFromString(_MARK_TAG + len(self.replies).to_bytes(4, "little"))
        reply = Reply(query, peer, message)
        self.replies.append(reply)
        if message.WhichOneof("response") in {query.topic[1], "refusal"}:
            peer.is_done_with(query.token)
        peer.undecided.add(query.token)
        session = _session_of(peer)

        def tell(outcome: Outcome) -> None:
            self.was_told(reply, outcome)

        peer.gateway.receive(lambda: peer.gateway.relay.take(session, message, tell))

    def pause(self, gateway: Gateway) -> None:
        self._befall(f"{_name(gateway)} pauses")
        gateway.pause()

    def resume(self, gateway: Gateway) -> None:
        self._befall(f"{_name(gateway)} goes on")
        gateway.resume()

    def kill(self, gateway: Gateway) -> None:
        self._befall(f"{_name(gateway)} dies")
        gateway.die()
        for peer in self.peers:
            if peer.gateway is gateway:
                peer.is_gone = True
                peer.held.clear()

    def unplug(self, gateway: Gateway) -> None:
        self._befall(f"{_name(gateway)} is cut off")
        gateway.unplug()

    def plug_in(self, gateway: Gateway) -> None:
        self._befall(f"{_name(gateway)} is connected again")
        gateway.plug_in()

    def deafen(self, seconds: float) -> None:
        self._befall(f"no presence is heard for {seconds} s")
        self.network.deaf_until = self.now + seconds

    def let_pass(self, seconds: float) -> None:
        self.tell(f"{seconds} s pass")
        self.network.clock.run_for(seconds)

    # ------------------------------------------------------------------------------------------- what is seen

    def was_sent(self, peer: Peer, question: callback.Question) -> None:
        query = self.queries[int(question.correlation_id[1:])]
        self.tell(f"  {peer.name} is sent {query.name}, attempt {question.attempt}")
        asker, server = query.gateway, peer.gateway
        if peer.has_left or not server.works:
            self._broken("only who is there is sent anything", peer.name, query.name)
        if peer.is_gone:
            # Its gateway has yet to see that.
            return
        if peer in query.peers:
            self._broken("no handler is sent a question twice", peer.name, query.name)
        if query.topic not in peer.topics:
            self._broken("a handler is sent what it answers", peer.name, query.name)
        slack = _ROUNDING_SECONDS if server is asker else _SLACK_SECONDS
        knows_delay = server is asker or asker.id in server.knows_delay_of
        if knows_delay and not asker.is_dead and self.now >= query.deadline + slack:
            self._broken("a question is sent only while there is time", peer.name, query.name)
        query.token = query.token or question.token
        if question.token != query.token or question.attempt < 1 or question.time_left.ToMilliseconds() < 0:
            self._broken("a question says what is so", peer.name, query.name, question)
        query.peers.append(peer)
        peer.held[question.token] = query
        self._check_room(peer)
        self._check_attempts(query)

    def has_ended(self, query: Query, reply: callback.Reply | None) -> None:
        self.tell(f"  {query.name} ends with {'nothing' if reply is None else reply.WhichOneof('response')}")
        query.ends.append(reply)
        if len(query.ends) > 1 or query.is_abandoned:
            self._broken("a question ends once, and not for who waits no more", query.name)
        if reply is None and self.troubles == query.troubles and self.now > query.deadline + _ROUNDING_SECONDS:
            self._broken("without a reply a question ends at its deadline", query.name)

    def was_told(self, reply: Reply, outcome: Outcome) -> None:
        query, name = reply.query, callback.ReplyOutcome.Name(outcome)
        self.tell(f"  {reply.peer.name} is told of {query.name}: {name}")
        reply.told.append(outcome)
        if len(reply.told) > 1:
            self._broken("who replies is told once what became of it", reply.peer.name, query.name)
        if outcome not in {callback.REPLY_OUTCOME_INVALID, callback.REPLY_OUTCOME_UNKNOWN_TOKEN}:
            reply.peer.is_done_with(query.token)
        reply.peer.undecided.discard(query.token)
        self._check_room(reply.peer)
        first = query.ends[0] if query.ends else None
        counts = first is not None and first.SerializeToString() == reply.message.SerializeToString()
        if outcome == callback.REPLY_OUTCOME_ACCEPTED and not counts:
            self._broken("the reply that is told that it counts is the one that does", reply.peer.name, query.name)
        if outcome == callback.REPLY_OUTCOME_UNKNOWN_TOKEN and self.network.is_calm:
            self._broken("a token that was given out is known", reply.peer.name, query.name)
        is_wrong = reply.message.WhichOneof("response") not in {query.topic[1], "refusal"}
        if outcome == callback.REPLY_OUTCOME_INVALID and not is_wrong:
            self._broken("a reply that fits is not told otherwise", reply.peer.name, query.name)
        if counts and outcome != callback.REPLY_OUTCOME_ACCEPTED and self.network.is_calm:
            self._broken("the reply that counts is told so", reply.peer.name, query.name, name)

    # ---------------------------------------------------------------------------------------- what is checked

    def check_calm(self) -> None:
        """Look, while nothing fails and all that was said has arrived, for what ought to have happened."""
        for query in self.queries:
            if query.ends or query.is_abandoned or query.peers:
                continue
            for peer in self.peers:
                if peer.could_take(query) and self.now - peer.has_room_since >= _ARRIVED_SECONDS:
                    self._broken("no question waits while there is who can take it", peer.name, query.name)

    def check_end(self) -> None:
        """Look for what is left when all time is over."""
        for query in self.queries:
            if not (query.ends or query.is_abandoned or query.gateway.is_dead):
                self._broken("a question ends", query.name)
            accepted = [
                reply
                for reply in self.replies
                if reply.query is query and callback.REPLY_OUTCOME_ACCEPTED in reply.told
            ]
            if len(accepted) > 1:
                self._broken("one reply counts", query.name)
        for reply in self.replies:
            if not reply.told and not reply.peer.gateway.is_dead:
                self._broken("who replies is told what became of it", reply.peer.name, reply.query.name)
        alive = [gateway for gateway in self.network.gateways if not gateway.is_dead]
        for gateway in alive:
            if gateway.broker.size[0] or not gateway.relay.is_idle:
                self._broken("nothing is left in the end", _name(gateway), gateway.broker.size)
        for peer in self.peers:
            if peer.held:
                self._broken("what is out of time is taken back", peer.name)

    def _check_local_first(self, gateway: Gateway, asked: peer_messages.PeerMessage) -> None:
        query = self.queries[int(asked.request.callback_request.correlation_id[1:])]
        for peer in self.peers:
            is_ready = peer.gateway is gateway and peer.could_take(query)
            if is_ready and peer.session is not None and peer.session.has_room and not peer.session.is_slow:
                self._broken("a handler here goes first", peer.name, query.name)

    def _check_room(self, peer: Peer) -> None:
        if len(peer.held.keys() - peer.undecided) > peer.max_in_flight:
            self._broken("no handler has more questions than it takes", peer.name, sorted(peer.held))

    def _check_attempts(self, query: Query) -> None:
        if self.troubles > query.troubles or not self.network.is_calm:
            return
        here = [peer for peer in query.peers if not peer.is_gone]
        if len(here) > _MOST_ASKED_BECAUSE_OTHERS_DAWDLE:
            self._broken("no more than three are asked because others dawdle", query.name)

    def _befall(self, line: str) -> None:
        self.troubles += 1
        self.tell(line)

    @property
    def now(self) -> float:
        return self.network.clock.time()

    def tell(self, line: str) -> None:
        self.history.append(f"{self.network.clock.time():12.5f} {line}")

    def _broken(self, promise: str, *details: object) -> NoReturn:
        raise BrokenPromiseError(promise, " ".join(map(str, details)))


def _name(gateway: Gateway) -> str:
    return f"g{int(gateway.id, 16)}"


def _session_of(peer: Peer) -> HandlerSession:
    if peer.session is None:
        raise AssertionError(f"{peer.name} never got a session")
    return peer.session
