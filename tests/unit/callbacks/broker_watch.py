"""A broker under observation: what it promises is checked against what it was told and what was seen of it.

Nothing here decides whom to ask: each thing that the broker does is judged when it is done, and what it fails to do is
found after each step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import ClassVar

from gateway.callbacks.broker import Broker, Outcome
from gateway.callbacks.model import OPEN_OUTCOMES, CallbackRegistry
from gateway.callbacks.tokens import CallbackTokens
from gateway.ports import CallbackOutcome, NoReply, outcome_of
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_clock import VirtualClock
from tests.unit.callbacks.watch import OUTCOMES, Peer, Place, Request, Watch, fits

__all__ = ["WatchedBroker"]

_WALL_CLOCK_AHEAD = 1_700_000_000
_MIN_PASS_ON_SECONDS = 0.2
_MS = 0.001
_RANDOM = Random(1)  # noqa: S311 # system calls for the tokens would take a tenth of the time


@dataclass(slots=True, eq=False)
class _Request(Request):
    peers: "list[_Peer]" = field(default_factory=list)
    halves: list[float] = field(default_factory=list)
    """Until when each of them had it for itself."""
    is_over: bool = False
    """Whether a reply came, or None, or nobody waits any more."""
    accepted: callback.CallbackReply | None = None
    """The reply that has to be the accepted one."""


@dataclass(slots=True, eq=False)
class _Peer(Peer):
    held: dict[str, _Request] = field(default_factory=dict)
    unanswered: dict[_Request, int] = field(default_factory=dict)
    """What it was sent and never replied to, with its place among those that were sent it."""
    last_reply: float = -inf
    last_sent: int = 0
    """At which line of the history it was sent its last callback request."""

    def could_be_slow(self, now: float, stalled_until: float) -> bool:
        """Whether, since its last reply, somebody was found to take too long for a request that it had then."""
        return any(
            until <= now and self.last_reply <= max(until, stalled_until)
            for request, place in self.unanswered.items()
            for until in (*request.halves[place:], request.deadline)
        )

    @property
    def burden(self) -> tuple[bool, int, int]:
        """What it has to do: who has the least goes first, and of equals the one whose last request is oldest."""
        return self.is_slow, len(self.held), self.last_sent


class WatchedBroker(Watch[_Peer, _Request]):
    max_handlers: ClassVar = 4

    def __init__(self) -> None:
        super().__init__(VirtualClock(), _Peer, _Request)
        tokens = CallbackTokens(_RANDOM.randbytes)
        self.broker = Broker(self.clock, wall_clock=lambda: self.clock.time() + _WALL_CLOCK_AHEAD, tokens=tokens)
        self._open: dict[_Request, None] = {}
        """What has no end yet, and somebody waits for."""
        self._waiting: dict[_Request, int] = {}
        """What waited for a handler at the last check, and how many had it."""
        self._stalled_until = -inf
        self._checked = 0
        """How much had happened at the last check."""

    # ------------------------------------------------------------------------------------------- what is done

    def place(self, number: int) -> Place:
        del number
        return self

    def __str__(self) -> str:
        return "the broker"

    @property
    def registry(self) -> CallbackRegistry:
        return self.broker

    def receive(self, task: Callable[[], object]) -> None:
        task()

    def abandon(self, request: _Request) -> None:
        self.tell("nobody waits any more for", request)
        self._is_over(request)
        request.abandon()

    @property
    def repliers(self) -> Sequence[_Peer]:
        # The broker may learn of a reply after that of its handler's end.
        return self.peers

    def reply(self, peer: _Peer, request: _Request, reply: callback.CallbackReply) -> None:
        expected = self._outcome(peer, request, reply)
        self.tell(peer, "replies to", request, "with", reply.WhichOneof("response"))
        if expected == callback.REPLY_OUTCOME_ACCEPTED:
            request.accepted = reply
        if expected not in OPEN_OUTCOMES:
            peer.last_reply = self.clock.time()
            peer.unanswered.pop(request, None)
            peer.held.pop(request.token, None)
        self._check_outcome(self._take(peer, reply), expected, peer, request)
        if expected == callback.REPLY_OUTCOME_ACCEPTED and not request.is_over:
            self.broken("an accepted reply ends a callback request at once", peer, request)

    def reply_unknown(self, peer: _Peer, reply: callback.CallbackReply) -> None:
        self.tell(peer, "replies to what was never sent")
        self._check_outcome(self._take(peer, reply), callback.REPLY_OUTCOME_UNKNOWN_TOKEN, peer)

    def stall(self, when: float) -> None:
        self.tell("the loop stalls until", when)
        self.clock.stall_until(when)
        self._stalled_until = when

    # ------------------------------------------------------------------------------------------- what is seen

    def begins(self, request: _Request) -> None:
        self._open[request] = None

    def was_sent(self, peer: _Peer, message: callback.CallbackRequest) -> None:
        request = self.requests[int(message.correlation_id[1:])]
        self.tell("-", peer, "is sent", request)
        now = self.clock.time()
        left = request.deadline - now
        if request.is_over:
            self.broken("what is over is sent to nobody", peer, request)
        if left <= 0:
            self.broken("a callback request is sent only while there is time", peer, request)
        if request.attempt >= request.attempts.most:
            self.broken("a callback request goes to no more handlers than may get it", peer, request)
        if now > _latest(request):
            self.broken("a callback request is passed on from who is slow only while that is of use", peer, request)
        if not peer.is_willing(request):
            self.broken("a callback request goes to who can take it", peer, request, _unwilling(peer, request))
        self._check_choice(peer, request, now)
        request.token = request.token or message.token
        peer.held[request.token] = request
        peer.unanswered[request] = len(request.peers)
        request.peers.append(peer)
        # Computed as the broker does, to the last bit: it matters on which side of it something happens.
        request.halves.append(request.deadline - left / 2)
        peer.last_sent = len(self._events)
        shown = (
            message.token,
            message.issuer_id,
            message.WhichOneof("request"),
            message.attempt,
            message.time_left.ToMilliseconds(),
        )
        shown_wrongly_by = message.deadline.ToMilliseconds() / 1000 - request.deadline - _WALL_CLOCK_AHEAD
        expected = (request.token, *request.topic, request.attempt, round(left * 1000))
        if shown != expected or abs(shown_wrongly_by) > _MS:
            self.broken("a callback request says what is so", peer, request, shown, shown_wrongly_by)

    def was_withdrawn(self, peer: _Peer, token: str) -> bool:
        if peer.is_gone:
            return not peer.reads
        request = peer.held.get(token)
        self.tell("-", peer, "need not answer", request or token)
        is_out_of_time = request is not None and self.clock.time() >= request.deadline
        if request is None or not (is_out_of_time or request.is_over):
            self.broken("a callback request is withdrawn from who has it, when nobody waits for it", peer)
        is_dropped = is_out_of_time or not peer.reads
        if is_dropped:
            del peer.held[token]
        return is_dropped

    def has_ended(self, request: _Request, reply: callback.CallbackReply | NoReply) -> None:
        self.tell("-", request, "ends with", outcome_of(reply))
        if request.is_over:
            self.broken("a callback request ends once, and not for who waits no more", request)
        self._is_over(request)
        now = self.clock.time()
        if not isinstance(reply, CallbackOutcome):
            if reply is not request.accepted:
                self.broken("the accepted reply is the first that is right and in time", request)
            return
        expected = CallbackOutcome.FALLBACK if request.attempt else CallbackOutcome.NO_HANDLER
        if reply != (CallbackOutcome.EXHAUSTED if self._is_exhausted(request) else expected):
            self.broken("the end says how many handlers had it", request, reply)
        if now < request.deadline and not self._is_hopeless(request):
            self.broken("a callback request is not given up while there is time and somebody to answer", request)
        elif now > request.deadline and now != self._stalled_until:
            self.broken("without a reply a callback request ends at its deadline", request)

    # ---------------------------------------------------------------------------------------- what is checked

    def check(self, number: int = 0) -> None:
        """Look for what ought to have happened by now."""
        del number
        if self._checked == len(self._events):
            return
        self._checked = len(self._events)
        now = self.clock.time()
        for request in self._open:
            if not request.wait_for_handler and now < request.deadline and self._is_hopeless(request):
                self.broken("what does not wait for a handler ends when there is none", request)
        if self.clock.is_behind:
            return
        self._waiting = {request: len(request.peers) for request in self._open if _wants_handler(request, now)}
        for request in self._waiting:
            for peer in self.peers:
                if peer.is_willing(request):
                    self.broken("no callback request waits while there is who can take it", peer, request)
        for request in self._open:
            if request.deadline <= now:
                self.broken("a callback request is over at its deadline", request)
        self._check_slowness(now)
        self._check_memory()

    def finish(self) -> None:
        self.let_pass(max((request.deadline for request in self.requests), default=self.clock.time()))
        self.check()
        if self.clock.pending or self.broker.size[0]:
            self.broken("nothing is left in the end", self.clock.pending, "timers", self.broker.size)
        for peer in self.connected:
            self.disconnect(peer)
        self.check()
        if self.broker.size != (0, 0):
            self.broken("nothing is left when all are gone", self.broker.size)

    def _check_outcome(self, outcome: Outcome, expected: Outcome, *who: _Peer | _Request) -> None:
        self.tell("- the outcome is", OUTCOMES[outcome])
        if outcome != expected:
            self.broken("who replies gets the true outcome", *who, OUTCOMES[expected], "and not", OUTCOMES[outcome])

    def _check_choice(self, peer: _Peer, request: _Request, now: float) -> None:
        burden = peer.burden
        for other in self.peers:
            if other is not peer and other.is_willing(request) and other.burden < burden:
                self.broken("a callback request goes to the handler with the least to do", peer, request, "not", other)
        for waiting, attempts in self._waiting.items():
            if (
                waiting.deadline < request.deadline
                and now < _latest(waiting)
                and not waiting.is_over
                and len(waiting.peers) == attempts
                and peer.is_willing(waiting)
            ):
                self.broken("of those that wait the most urgent goes first", peer, request, "not", waiting)

    def _check_slowness(self, now: float) -> None:
        for peer in self.peers:
            if peer.is_gone:
                continue
            is_slow = peer.is_slow
            if is_slow and not peer.could_be_slow(now, self._stalled_until):
                self.broken("only who let half of the time pass counts as slow", peer)
            for request in peer.held.values():
                if request.is_over and not peer.reads:
                    self.broken("what nobody waits for is not left for who has not read it", peer, request)
                if request.deadline <= now:
                    self.broken("what is out of time is withdrawn", peer, request)
                half = request.halves[-1]
                is_passed_on = not request.is_over and not request.peers[-1].is_gone and half < now
                if is_passed_on and peer.last_reply < half and not is_slow:
                    self.broken("who let half of the time pass counts as slow", peer, request)

    def _check_memory(self) -> None:
        remembered = set(self._open)
        sessions = 0
        for peer in self.peers:
            if not peer.is_gone:
                remembered.update(peer.held.values())
                sessions += len(peer.topics)
        size, expected = self.broker.size, (len(remembered) + len(self._waiting), sessions)
        if size != expected:
            self.broken("nothing is kept that is over", expected, "and not", size)
        if self.clock.pending > 2 * len(remembered):
            self.broken("no timer is kept that is of no use", self.clock.pending)

    def _is_over(self, request: _Request) -> None:
        request.is_over = True
        self._open.pop(request, None)

    def _is_held(self, request: _Request) -> bool:
        return any(request.token in peer.held for peer in request.peers)

    def _is_exhausted(self, request: _Request) -> bool:
        return request.attempt >= request.attempts.most and not self._is_held(request)

    def _is_hopeless(self, request: _Request) -> bool:
        if request.wait_for_handler or self._is_held(request):
            return False
        is_served = any(peer.serves and request.topic in peer.topics for peer in self.peers)
        return not is_served or self._is_exhausted(request)

    def _take(self, peer: _Peer, reply: callback.CallbackReply) -> Outcome:
        outcomes: list[Outcome] = []
        self.broker.take(peer.session, reply, outcomes.append)
        (outcome,) = outcomes
        return outcome

    def _outcome(self, peer: _Peer, request: _Request, reply: callback.CallbackReply) -> Outcome:
        if self.clock.time() >= request.deadline:
            return callback.REPLY_OUTCOME_LATE
        if request.is_over:
            return callback.REPLY_OUTCOME_ALREADY_ANSWERED
        if request.topic not in peer.topics:
            return callback.REPLY_OUTCOME_NOT_REGISTERED
        return callback.REPLY_OUTCOME_ACCEPTED if fits(request, reply) else callback.REPLY_OUTCOME_INVALID


def _last_is_here(request: _Request) -> bool:
    """Return whether the handler that had it last is still connected."""
    last = next((peer for peer in reversed(request.peers) if peer not in request.unread), None)
    return last is not None and not last.is_gone


def _latest(request: _Request) -> float:
    """Return until when a callback request may be sent to one more."""
    if request.attempt >= request.attempts.most:
        return -inf
    if not _last_is_here(request):
        return request.deadline
    return -inf if request.attempt >= request.attempts.if_slow else request.deadline - _MIN_PASS_ON_SECONDS


def _wants_handler(request: _Request, now: float) -> bool:
    if now >= _latest(request):
        return False
    # A handler that left before reading it used no time of the callback.
    return not _last_is_here(request) or request.peers[-1] in request.unread or request.halves[-1] <= now


def _unwilling(peer: _Peer, request: _Request) -> str:
    reasons = {
        "it is gone": peer.is_gone,
        "it drains": peer.is_draining,
        "it has no room": len(peer.held) >= peer.max_in_flight,
        "it does not answer such": request.topic not in peer.topics,
        "it has had it": peer in request.peers,
    }
    return ", ".join(reason for reason, is_so in reasons.items() if is_so)
