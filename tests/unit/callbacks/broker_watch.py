"""A broker under observation: what it promises is checked against what it was told and what was seen of it.

Nothing here decides whom to ask: each thing that the broker does is judged when it is done, and what it fails to do is
found after each step.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import NoReturn

from gateway.callback_tokens import CallbackTokens
from gateway.callbacks import Broker, Outcome, Seat, Topic
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_clock import VirtualClock
from tests.unit.callbacks.broker_samples import a_question

__all__ = ["Asked", "BrokenPromiseError", "Peer", "WatchedBroker"]

_WALL_CLOCK_AHEAD = 1_700_000_000


class BrokenPromiseError(AssertionError):
    """The broker did not keep a promise."""

    def __init__(self, promise: str, detail: str) -> None:
        super().__init__(f"{promise}: {detail}")
        self.promise = promise


@dataclass(slots=True, eq=False)
class Asked:
    """A question, as who asked it sees it, and to whom it was seen to go."""

    name: str
    topic: Topic
    deadline: float
    waits: bool
    abandon: Callable[[], None] = lambda: None
    token: str = ""
    peers: "list[Peer]" = field(default_factory=list)
    """Whom it was sent to, in that order."""
    patience_until: float = inf
    """Until when the last of them has it for itself."""
    is_over: bool = False
    """Whether a reply came, or None, or nobody waits any more."""
    counting: callback.Reply | None = None
    """The reply that has to be the one that counts."""


@dataclass(slots=True, eq=False)
class Peer:
    """A handler on one stream: what it was sent and has not replied to."""

    watch: "WatchedBroker"
    name: str
    topics: frozenset[Topic]
    max_in_flight: int
    seat: Seat | None = None
    held: dict[Asked, None] = field(default_factory=dict)
    missed: dict[Asked, float] = field(default_factory=dict)
    """What it was sent and has not replied to, in time or late, with the end of its half of the time."""
    last_reply: float = -inf
    is_draining: bool = False
    is_gone: bool = False

    def send(self, question: callback.Question) -> None:
        self.watch.was_sent(self, question)

    def withdraw(self, token: str) -> None:
        self.watch.was_withdrawn(self, token)

    def has_replied(self, asked: Asked, now: float) -> None:
        self.last_reply = now
        self.missed = {each: until for each, until in self.missed.items() if until >= now and each is not asked}

    @property
    def is_tardy(self) -> bool:
        return self.seat is not None and self.seat.is_tardy

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


class WatchedBroker:
    """Does to a broker what handlers and askers do, and raises `BrokenPromiseError` when it errs."""

    def __init__(self, seed: int) -> None:
        self.clock = VirtualClock()
        self._tokens = CallbackTokens(Random(seed).randbytes)
        self.broker = Broker(
            self.clock, wall_clock=lambda: self.clock.time() + _WALL_CLOCK_AHEAD, tokens=self._tokens
        )
        self.asked: list[Asked] = []
        self.peers: list[Peer] = []
        self.history: list[str] = []
        """What happened, a line each, for people."""
        self._waiting: list[Asked] = []
        self._stalled_until = -inf

    # ------------------------------------------------------------------------------------------- what is done

    def connect(self, topics: frozenset[Topic], max_in_flight: int) -> None:
        peer = Peer(self, f"h{len(self.peers)}", topics, max_in_flight)
        self._tell(f"{peer.name} connects for {sorted(topics)}, {max_in_flight} at once")
        self.peers.append(peer)
        peer.seat = self.broker.connect(peer, sorted(topics), max_in_flight)

    def drain(self, peer: Peer) -> None:
        self._tell(f"{peer.name} drains")
        peer.is_draining = True
        self.broker.drain(_seat_of(peer))

    def disconnect(self, peer: Peer) -> None:
        self._tell(f"{peer.name} is gone")
        peer.is_gone = True
        peer.held.clear()
        self.broker.disconnect(_seat_of(peer))

    def ask(self, topic: Topic, seconds: float, *, waits: bool) -> None:
        asked = Asked(f"q{len(self.asked)}", topic, self.clock.time() + seconds, waits)
        self._tell(f"{asked.name} is asked, {topic} within {seconds} s, {waits=}")
        self.asked.append(asked)

        def on_end(reply: callback.Reply | None) -> None:
            self.has_ended(asked, reply)

        asked.abandon = self.broker.begin(a_question(topic, asked.name), seconds, on_end, waits=waits)

    def abandon(self, asked: Asked) -> None:
        self._tell(f"nobody waits for {asked.name} any more")
        asked.is_over = True
        asked.abandon()

    def reply(self, peer: Peer, asked: Asked, reply: callback.Reply) -> None:
        expected = self._outcome(asked, reply)
        self._tell(f"{peer.name} replies to {asked.name}: {reply.WhichOneof('response')}")
        if expected == callback.REPLY_OUTCOME_ACCEPTED:
            asked.counting = reply
        if expected != callback.REPLY_OUTCOME_INVALID:
            # Who comes too late, or second, to what is forgotten has not shown that it is prompt again.
            if self._is_remembered(asked):
                peer.has_replied(asked, self.clock.time())
            peer.held.pop(asked, None)
        self._check_outcome(self.broker.reply(_seat_of(peer), reply), expected, peer, asked)
        if expected == callback.REPLY_OUTCOME_ACCEPTED and not asked.is_over:
            self._broken("the asker is told at once of the reply that counts", peer, asked)

    def reply_unknown(self, peer: Peer, reply: callback.Reply) -> None:
        self._tell(f"{peer.name} replies to what was never asked")
        outcome = self.broker.reply(_seat_of(peer), reply)
        self._check_outcome(outcome, callback.REPLY_OUTCOME_UNKNOWN_TOKEN, peer)

    def let_pass(self, when: float) -> None:
        self._tell(f"time passes until {when}")
        self.clock.run_until(when)

    def stall(self, when: float) -> None:
        self._tell(f"the loop stalls until {when}")
        self.clock.stall_until(when)
        self._stalled_until = when

    # ------------------------------------------------------------------------------------------- what is seen

    def was_sent(self, peer: Peer, question: callback.Question) -> None:
        asked = self.asked[int(question.correlation_id[1:])]
        self._tell(f"  {peer.name} is sent {asked.name}")
        now = self.clock.time()
        left = asked.deadline - now
        if asked.is_over:
            self._broken("what is over is sent to nobody", peer, asked)
        if left <= 0:
            self._broken("a question is sent only while there is time", peer, asked)
        if not peer.is_willing(asked):
            self._broken(f"a question goes to who can take it ({_unwilling(peer, asked)})", peer, asked)
        self._check_choice(peer, asked)
        asked.token = asked.token or question.token
        asked.peers.append(peer)
        asked.patience_until = now + left / 2
        peer.held[asked] = None
        peer.missed[asked] = asked.patience_until
        says = (
            question.token,
            question.issuer_id,
            question.WhichOneof("request"),
            question.attempt,
            question.time_left.ToMilliseconds(),
            question.deadline.ToMilliseconds(),
        )
        deadline = round((asked.deadline + _WALL_CLOCK_AHEAD) * 1000)
        if says != (asked.token, *asked.topic, len(asked.peers), round(left * 1000), deadline):
            self._broken(f"a question says what is so, not {says}", peer, asked)

    def was_withdrawn(self, peer: Peer, token: str) -> None:
        asked = next((each for each in peer.held if each.token == token), None)
        self._tell(f"  {peer.name} need not answer {asked.name if asked else token}")
        if asked is None or self.clock.time() < asked.deadline:
            self._broken("a question is taken back from who has it, when its time is over", peer)
        del peer.held[asked]

    def has_ended(self, asked: Asked, reply: callback.Reply | None) -> None:
        self._tell(f"  {asked.name} ends with {'nothing' if reply is None else reply.WhichOneof('response')}")
        if asked.is_over:
            self._broken("a question ends once, and not for who waits no more", asked)
        asked.is_over = True
        now = self.clock.time()
        if reply is not None:
            if reply is not asked.counting:
                self._broken("the reply that counts is the first that is right and in time", asked)
        elif now < asked.deadline and not self._is_hopeless(asked):
            self._broken("a question is not given up while there is time and somebody to answer", asked)
        elif now > asked.deadline and now != self._stalled_until:
            self._broken("without a reply a question ends at its deadline", asked)

    # ---------------------------------------------------------------------------------------- what is checked

    def check(self) -> None:
        """Look for what ought to have happened by now."""
        for asked in self._open():
            if self._is_hopeless(asked):
                self._broken("what does not wait for a handler ends when there is none", asked)
        if self.clock.is_behind:
            return
        self._waiting = [asked for asked in self._open() if self._wants_handler(asked)]
        for asked in self._waiting:
            for peer in self.peers:
                if peer.is_willing(asked):
                    self._broken("no question waits while there is who can take it", peer, asked)
        for asked in self._open():
            if asked.deadline <= self.clock.time():
                self._broken("a question is over at its deadline", asked)
        self._check_tardiness()
        self._check_memory()

    def _check_outcome(self, outcome: Outcome, expected: Outcome, *who: Peer | Asked) -> None:
        name = callback.ReplyOutcome.Name
        self._tell(f"  and is told {name(outcome)}")
        if outcome != expected:
            self._broken(f"who replies is told the truth: {name(expected)}, not {name(outcome)}", *who)

    def _check_choice(self, peer: Peer, asked: Asked) -> None:
        for other in self.peers:
            if other.is_willing(asked) and (other.is_tardy, len(other.held)) < (peer.is_tardy, len(peer.held)):
                self._broken(f"a question goes to the handler with the least to do, {other.name}", peer, asked)
        for other_asked in self._waiting:
            if (
                other_asked.deadline < asked.deadline
                and not other_asked.is_over
                and other_asked.deadline > self.clock.time()
                and self._wants_handler(other_asked)
                and peer.is_willing(other_asked)
            ):
                self._broken(f"of those that wait the most urgent goes first, {other_asked.name}", peer, asked)

    def _check_tardiness(self) -> None:
        now = self.clock.time()
        for peer in self.peers:
            if peer.is_gone:
                continue
            if peer.is_tardy and not any(until <= now for until in peer.missed.values()):
                self._broken("only who let half of the time pass counts as tardy", peer)
            for asked in peer.held:
                if asked.deadline <= now:
                    self._broken("what is out of time is taken back", peer, asked)
                until = asked.patience_until
                if not asked.is_over and peer.last_reply < until < now and not peer.is_tardy:
                    self._broken("who let half of the time pass counts as tardy", peer, asked)

    def _check_memory(self) -> None:
        remembered = set(self._open()).union(*(peer.held for peer in self.peers))
        seats = sum(len(peer.topics) for peer in self.peers if not peer.is_gone)
        expected = (len(remembered) + len(self._waiting), seats)
        if self.broker.size != expected:
            self._broken(f"nothing is kept that is over: {expected}, not {self.broker.size}", *remembered)
        if self.clock.pending > 2 * len(remembered):
            self._broken(f"no timer is left: {self.clock.pending}", *remembered)

    def _open(self) -> Iterator[Asked]:
        return (asked for asked in self.asked if not asked.is_over)

    def _is_remembered(self, asked: Asked) -> bool:
        return not asked.is_over or any(asked in peer.held for peer in self.peers)

    def _wants_handler(self, asked: Asked) -> bool:
        return not asked.peers or asked.peers[-1].is_gone or asked.patience_until <= self.clock.time()

    def _is_hopeless(self, asked: Asked) -> bool:
        return not asked.waits and not any(
            asked in peer.held or (peer.serves and asked.topic in peer.topics) for peer in self.peers
        )

    def _outcome(self, asked: Asked, reply: callback.Reply) -> Outcome:
        if self.clock.time() >= asked.deadline:
            return callback.REPLY_OUTCOME_LATE
        if asked.is_over:
            return callback.REPLY_OUTCOME_ALREADY_ANSWERED
        if reply.WhichOneof("response") not in {asked.topic[1], "refusal"}:
            return callback.REPLY_OUTCOME_INVALID
        return callback.REPLY_OUTCOME_ACCEPTED

    def _tell(self, line: str) -> None:
        self.history.append(f"{self.clock.time():12.5f} {line}")

    def _broken(self, promise: str, *who: Peer | Asked) -> NoReturn:
        raise BrokenPromiseError(promise, ", ".join(each.name for each in who) or "all")


def _seat_of(peer: Peer) -> Seat:
    if peer.seat is None:
        raise AssertionError(f"{peer.name} never got a seat")
    return peer.seat


def _unwilling(peer: Peer, asked: Asked) -> str:
    reasons = {
        "it is gone": peer.is_gone,
        "it drains": peer.is_draining,
        "it has no room": len(peer.held) >= peer.max_in_flight,
        "it does not answer such": asked.topic not in peer.topics,
        "it has had it": peer in asked.peers,
    }
    return ", ".join(reason for reason, is_so in reasons.items() if is_so)
