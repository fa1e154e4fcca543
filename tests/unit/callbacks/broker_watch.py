"""A broker under observation: what it promises is checked against what it was told and what was seen of it.

Nothing here decides whom to ask: each thing that the broker does is judged when it is done, and what it fails to do is
found after each step.
"""

from math import inf
from typing import NoReturn

from gateway.callbacks.broker import Broker, HandlerSession, Outcome, Topic
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_clock import VirtualClock
from tests.unit.callbacks.broker_peers import Asked, Peer
from tests.unit.callbacks.broker_samples import a_question

__all__ = ["BrokenPromiseError", "WatchedBroker"]

_WALL_CLOCK_AHEAD = 1_700_000_000
_MOST_ASKED_BECAUSE_OTHERS_DAWDLE = 3
_LEAST_SECONDS_FOR_THE_NEXT = 0.2
_MS = 0.001


class BrokenPromiseError(AssertionError):
    """The broker did not keep a promise."""

    def __init__(self, promise: str, detail: str) -> None:
        super().__init__(f"{promise}: {detail}")
        self.promise = promise


class WatchedBroker:
    """Does to a broker what handlers and askers do, and raises `BrokenPromiseError` when it errs."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.broker = Broker(self.clock, wall_clock=lambda: self.clock.time() + _WALL_CLOCK_AHEAD)
        self.asked: list[Asked] = []
        self.peers: list[Peer] = []
        self.history: list[str] = []
        """What happened, a line each, for people."""
        self._open: dict[Asked, None] = {}
        """What has no end yet, and somebody waits for."""
        self._waiting: dict[Asked, int] = {}
        """What waited for a handler at the last check, and how many had it."""
        self._stalled_until = -inf

    # ------------------------------------------------------------------------------------------- what is done

    def connect(self, topics: frozenset[Topic], max_in_flight: int) -> None:
        peer = Peer(self, f"h{len(self.peers)}", topics, max_in_flight)
        self._tell(f"{peer.name} connects for {sorted(topics)}, {max_in_flight} at once")
        self.peers.append(peer)
        peer.session = self.broker.connect(peer, sorted(topics), max_in_flight)

    def drain(self, peer: Peer) -> None:
        self._tell(f"{peer.name} drains")
        peer.is_draining = True
        self.broker.drain(_session_of(peer))

    def disconnect(self, peer: Peer) -> None:
        self._tell(f"{peer.name} is gone")
        peer.is_gone = True
        peer.held.clear()
        self.broker.disconnect(_session_of(peer))

    def ask(self, topic: Topic, seconds: float, *, wait_for_handler: bool) -> None:
        asked = Asked(f"q{len(self.asked)}", topic, self.clock.time() + seconds, wait_for_handler)
        self._tell(f"{asked.name} is asked, {topic} within {seconds} s, {wait_for_handler=}")
        self.asked.append(asked)
        self._open[asked] = None

        def on_end(reply: callback.Reply | None) -> None:
            self.has_ended(asked, reply)

        asked.abandon = self.broker.begin(
            a_question(topic, asked.name), seconds, on_end, wait_for_handler=wait_for_handler
        )

    def abandon(self, asked: Asked) -> None:
        self._tell(f"nobody waits for {asked.name} any more")
        self._is_over(asked)
        asked.abandon()

    def reply(self, peer: Peer, asked: Asked, reply: callback.Reply) -> None:
        expected = self._outcome(asked, reply)
        self._tell(f"{peer.name} replies to {asked.name}: {reply.WhichOneof('response')}")
        if expected == callback.REPLY_OUTCOME_ACCEPTED:
            asked.counting = reply
        if expected != callback.REPLY_OUTCOME_INVALID:
            peer.last_reply = self.clock.time()
            peer.unanswered.pop(asked, None)
            peer.held.pop(asked, None)
        self._check_outcome(self.broker.reply(_session_of(peer), reply), expected, peer, asked)
        if expected == callback.REPLY_OUTCOME_ACCEPTED and not asked.is_over:
            self._broken("the asker is told at once of the reply that counts", peer, asked)

    def reply_unknown(self, peer: Peer, reply: callback.Reply) -> None:
        self._tell(f"{peer.name} replies to what was never asked")
        outcome = self.broker.reply(_session_of(peer), reply)
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
        if now > _latest(asked):
            self._broken("a question is passed on because of who dawdles only while that is of use", peer, asked)
        if not peer.is_willing(asked):
            self._broken("a question goes to who can take it", peer, asked, _unwilling(peer, asked))
        self._check_choice(peer, asked)
        asked.token = asked.token or question.token
        peer.held[asked] = None
        peer.unanswered[asked] = len(asked.peers)
        asked.peers.append(peer)
        # Computed as the broker does, to the last bit: it matters on which side of it something happens.
        asked.halves.append(asked.deadline - left / 2)
        peer.last_sent = len(self.history)
        says = (
            question.token,
            question.issuer_id,
            question.WhichOneof("request"),
            question.attempt,
            question.time_left.ToMilliseconds(),
        )
        shown_wrongly_by = question.deadline.ToMilliseconds() / 1000 - asked.deadline - _WALL_CLOCK_AHEAD
        if says != (asked.token, *asked.topic, len(asked.peers), round(left * 1000)) or abs(shown_wrongly_by) > _MS:
            self._broken("a question says what is so", peer, asked, says, shown_wrongly_by)

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
        self._is_over(asked)
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
        for asked in self._open:
            if not asked.wait_for_handler and self.clock.time() < asked.deadline and self._is_hopeless(asked):
                self._broken("what does not wait for a handler ends when there is none", asked)
        if self.clock.is_behind:
            return
        self._waiting = {asked: len(asked.peers) for asked in self._open if self._wants_handler(asked)}
        for asked in self._waiting:
            for peer in self.peers:
                if peer.is_willing(asked):
                    self._broken("no question waits while there is who can take it", peer, asked)
        for asked in self._open:
            if asked.deadline <= self.clock.time():
                self._broken("a question is over at its deadline", asked)
        self._check_tardiness()
        self._check_memory()

    def _check_outcome(self, outcome: Outcome, expected: Outcome, *who: Peer | Asked) -> None:
        name = callback.ReplyOutcome.Name
        self._tell(f"  and is told {name(outcome)}")
        if outcome != expected:
            self._broken("who replies is told the truth", *who, f"{name(expected)} and not {name(outcome)}")

    def _check_choice(self, peer: Peer, asked: Asked) -> None:
        for other in self.peers:
            if other.is_willing(asked) and other.burden < peer.burden:
                self._broken("a question goes to the handler with the least to do", peer, asked, "not to", other)
        for other_asked, attempts in self._waiting.items():
            if (
                other_asked.deadline < asked.deadline
                and self.clock.time() < _latest(other_asked)
                and not other_asked.is_over
                and len(other_asked.peers) == attempts
                and peer.is_willing(other_asked)
            ):
                self._broken("of those that wait the most urgent goes first", peer, asked, "not", other_asked)

    def _check_tardiness(self) -> None:
        now = self.clock.time()
        for peer in self.peers:
            if peer.is_gone:
                continue
            if peer.is_slow and not peer.could_be_slow(now, self._stalled_until):
                self._broken("only who let half of the time pass counts as slow", peer)
            for asked in peer.held:
                if asked.deadline <= now:
                    self._broken("what is out of time is taken back", peer, asked)
                is_passed_on = not asked.is_over and not asked.peers[-1].is_gone and asked.halves[-1] < now
                if is_passed_on and peer.last_reply < asked.halves[-1] and not peer.is_slow:
                    self._broken("who let half of the time pass counts as slow", peer, asked)

    def _check_memory(self) -> None:
        remembered = set(self._open)
        sessions = 0
        for peer in self.peers:
            if not peer.is_gone:
                remembered.update(peer.held)
                sessions += len(peer.topics)
        size, expected = self.broker.size, (len(remembered) + len(self._waiting), sessions)
        if size != expected:
            self._broken("nothing is kept that is over", expected, "and not", size)
        if self.clock.pending > 2 * len(remembered):
            self._broken("no timer is kept that is of no use", self.clock.pending)

    def _is_over(self, asked: Asked) -> None:
        asked.is_over = True
        self._open.pop(asked, None)

    def _wants_handler(self, asked: Asked) -> bool:
        now = self.clock.time()
        return not _was_asked_of_somebody_here(asked) or asked.halves[-1] <= now < _latest(asked)

    def _is_hopeless(self, asked: Asked) -> bool:
        return not asked.wait_for_handler and not any(
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

    def _broken(self, promise: str, *details: object) -> NoReturn:
        raise BrokenPromiseError(promise, " ".join(map(str, details)))


def _was_asked_of_somebody_here(asked: Asked) -> bool:
    """Tell whether the one that was asked last is still there."""
    return bool(asked.peers) and not asked.peers[-1].is_gone


def _latest(asked: Asked) -> float:
    """Tell until when a question may be sent to one more."""
    if not _was_asked_of_somebody_here(asked):
        return asked.deadline
    if len(asked.peers) >= _MOST_ASKED_BECAUSE_OTHERS_DAWDLE:
        return -inf
    return asked.deadline - _LEAST_SECONDS_FOR_THE_NEXT


def _session_of(peer: Peer) -> HandlerSession:
    if peer.session is None:
        raise AssertionError(f"{peer.name} never got a session")
    return peer.session


def _unwilling(peer: Peer, asked: Asked) -> str:
    reasons = {
        "it is gone": peer.is_gone,
        "it drains": peer.is_draining,
        "it has no room": len(peer.held) >= peer.max_in_flight,
        "it does not answer such": asked.topic not in peer.topics,
        "it has had it": peer in asked.peers,
    }
    return ", ".join(reason for reason, is_so in reasons.items() if is_so)
