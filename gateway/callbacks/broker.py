"""The broker: matches each question of D1 with a connected handler, so that exactly one reply counts.

It is a state machine without I/O. Time comes from a clock, which an event loop is, so that whole lives of handlers can
be played through in no time. What it promises to handlers stands in ``issuer/callback/v1/service.proto``.
"""

import asyncio
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping
from itertools import count

from gateway.aio.clock import Clock
from gateway.callbacks.model import (
    KINDS,
    LEAST_SECONDS,
    Handler,
    OnEnd,
    Outcome,
    Question,
    RemoteId,
    Seat,
    Tell,
    Topic,
    kind_of,
    rank,
)
from gateway.callbacks.tokens import CallbackTokens
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["Broker", "Handler", "Outcome", "Seat", "Topic", "kind_of"]

_MOST_OPEN = 10_000
"""More questions at a time than this are not asked: each holds memory until its deadline."""


class Broker:
    """Asks handlers on behalf of whoever waits for a reply."""

    def __init__(
        self,
        clock: Clock,
        *,
        wall_clock: Callable[[], float] = time.time,
        tokens: CallbackTokens | None = None,
    ) -> None:
        """Begin without handlers.

        Args:
            clock: Keeps the deadlines.
            wall_clock: Tells the time that handlers are shown, in seconds since 1970 (UTC).
            tokens: Makes the tokens; a key of its own unless given.
        """
        self._clock = clock
        self._wall_clock = wall_clock
        self._tokens = tokens or CallbackTokens()
        self._numbers = count(1)
        self._turns = count(1)
        # A dictionary where a set would do: its order is the same in every run.
        self._seats: dict[Topic, dict[Seat, None]] = {}
        self._questions: dict[str, Question] = {}
        self._waiting: dict[Topic, list[Question]] = {}
        """The most urgent first."""

    # ------------------------------------------------------------------------------------------- for who asks

    async def ask(self, question: callback.Question, seconds: float, *, waits: bool = True) -> callback.Reply | None:
        """Ask, and wait for the reply that counts; see `gateway.ports.CallbackBus`."""
        ended: asyncio.Future[callback.Reply | None] = asyncio.get_running_loop().create_future()

        def end(reply: callback.Reply | None) -> None:
            # Whoever waited may have been cancelled in this very turn of the loop.
            if not ended.done():
                ended.set_result(reply)

        abandon = self.begin(question, seconds, end, waits=waits)
        try:
            return await ended
        finally:
            abandon()

    def begin(
        self, message: callback.Question, seconds: float, on_end: OnEnd, *, waits: bool = True
    ) -> Callable[[], None]:
        """Ask without waiting.

        Args:
            message: The question, with its issuer, its correlation id and its request. It belongs to the broker now.
            seconds: How long there is for the reply.
            on_end: Called once, perhaps before this returns.
            waits: Whether there is a point in waiting for a handler to connect while none is.

        Returns:
            What to call when nobody waits any more: `on_end` is not called after that.
        """
        topic = (message.issuer_id, kind_of(message))
        if len(self._questions) >= _MOST_OPEN or not (waits or self._is_served(topic)):
            on_end(None)
            return lambda: None
        deadline = self._clock.time() + seconds
        message.token = self._tokens.make(deadline)
        message.deadline.FromMilliseconds(round((self._wall_clock() + seconds) * 1000))
        question = Question(message, topic, next(self._numbers), deadline, on_end, waits)
        question.expiry = self._clock.call_at(deadline, self._expire, question)
        self._questions[message.token] = question
        self._place(question)

        def abandon() -> None:
            question.on_end = None
            self._end(question, None)

        return abandon

    # ------------------------------------------------------------------------------------------ for handlers

    def connect(
        self, handler: Handler, topics: Iterable[Topic], max_in_flight: int, remote_id: RemoteId | None = None
    ) -> Seat:
        """Let a handler take part. What waits for one is sent to it before this returns.

        Args:
            handler: The way to it.
            topics: What it answers.
            max_in_flight: How many questions it takes at once.
            remote_id: Which handler of another gateway it is: one that is asked if none of ours can be.
        """
        seat = Seat(handler, frozenset(topics), max_in_flight, remote_id=remote_id)
        for topic in seat.topics:
            self._seats.setdefault(topic, {})[seat] = None
        self._fill(seat)
        return seat

    def drain(self, seat: Seat) -> None:
        """Send a handler no further questions."""
        seat.is_draining = True
        self._give_up(seat.topics)

    def disconnect(self, seat: Seat) -> None:
        """Let a handler go; others get what it leaves undone."""
        # A reply of its own may still be under way: that must not get it a question.
        seat.is_draining = True
        for topic in seat.topics:
            self._unseat(seat, topic)
        for question in tuple(seat.held.values()):
            self._release(seat, question)
            # Those that had it before have used up their time for it.
            if question.on_end is not None and question.asked_last is seat:
                question.asked_last = None
                self._place(question)
        self._give_up(seat.topics)

    def take(self, seat: Seat, reply: callback.Reply, tell: Tell) -> None:
        """Take a handler's reply; see `gateway.callbacks.model.Desk`."""
        tell(self.reply(seat, reply))

    def reply(self, seat: Seat | None, reply: callback.Reply) -> Outcome:
        """Take a handler's reply, which keeps its contract, and tell what became of it.

        Args:
            seat: Over whose stream it came; None for a handler of another gateway that has no seat here any more.
            reply: The reply.
        """
        question = self._questions.get(reply.token)
        outcome = self._outcome_of_unknown(reply.token) if question is None else self._settle(question, reply)
        if seat is not None and outcome not in {callback.REPLY_OUTCOME_INVALID, callback.REPLY_OUTCOME_UNKNOWN_TOKEN}:
            seat.is_tardy = False
            if question is not None:
                self._release(seat, question)
                self._fill(seat)
        return outcome

    def refresh(self, message: callback.Question) -> bool:
        """Set how long there is for a question that is sent just now.

        Returns:
            Whether there is any time.
        """
        question = self._questions.get(message.token)
        left = 0.0 if question is None else question.deadline - self._clock.time()
        message.time_left.FromMilliseconds(round(left * 1000))
        return left > 0

    def leave(self) -> None:
        """See `gateway.callbacks.model.Desk`: one that is alone has nobody to tell."""

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for a reply; see `gateway.callbacks.model.Desk`."""
        return all(question.on_end is None for question in self._questions.values())

    @property
    def handler_counts(self) -> Mapping[str, int]:
        """How many handlers take questions here, by kind; 0 of a kind that has none."""
        seats: dict[str, set[Seat]] = {kind: set() for kind in KINDS}
        for (_, kind), taken in self._seats.items():
            seats.setdefault(kind, set()).update(seat for seat in taken if not (seat.is_draining or seat.remote_id))
        return {kind: len(found) for kind, found in seats.items()}

    @property
    def size(self) -> tuple[int, int]:
        """How many questions, and how many seats at topics, are held in memory."""
        waiting = sum(len(questions) for questions in self._waiting.values())
        return len(self._questions) + waiting, sum(len(seats) for seats in self._seats.values())

    # -------------------------------------------------------------------------------------------- the machine

    def _is_served(self, topic: Topic) -> bool:
        return any(not seat.is_draining for seat in self._seats.get(topic, ()))

    def _place(self, question: Question) -> None:
        """Give a question to the best handler that has not had it, or let it wait for one."""
        question.set_patience(None)
        if not question.may_be_given(self._clock.time()):
            return
        seats = self._seats.get(question.topic, ())
        best = min((seat for seat in seats if seat.has_room and seat.who not in question.tried), key=rank, default=None)
        if best is not None:
            self._give(question, best)
        elif not question.is_waiting:
            question.is_waiting = True
            insort(self._waiting.setdefault(question.topic, []), question)
            if question.asked_last is not None:
                latest = question.deadline - LEAST_SECONDS
                question.set_patience(self._clock.call_at(latest, self._stop_waiting, question))

    def _fill(self, seat: Seat) -> None:
        """Give a handler what waits for one, the most urgent first."""
        now = self._clock.time()
        while seat.has_room:
            waiting = (self._waiting.get(topic, ()) for topic in seat.topics)
            first = [
                next((each for each in questions if each.may_be_given(now) and seat.who not in each.tried), None)
                for questions in waiting
            ]
            urgent = min((each for each in first if each is not None), default=None)
            if urgent is None:
                on_room, seat.on_room = seat.on_room, None
                if on_room is not None:
                    on_room()
                return
            self._give(urgent, seat)

    def _give(self, question: Question, seat: Seat) -> None:
        self._stop_waiting(question)
        question.tried[seat.who] = seat
        question.holders.add(seat)
        question.asked_last = seat
        seat.held[question.message.token] = question
        seat.last_turn = next(self._turns)
        left = question.deadline - self._clock.time()
        question.set_patience(self._clock.call_at(question.deadline - left / 2, self._pass_on, question))
        message = callback.Question()
        message.CopyFrom(question.message)
        message.attempt = len(question.tried)
        self.refresh(message)
        seat.handler.send(message)

    def _pass_on(self, question: Question) -> None:
        """Ask another handler as well, if that may be: those that have the question take too long."""
        for seat in question.holders:
            seat.is_tardy = True
        self._place(question)

    def _settle(self, question: Question, reply: callback.Reply) -> Outcome:
        if self._clock.time() >= question.deadline:
            return callback.REPLY_OUTCOME_LATE
        if question.on_end is None:
            return callback.REPLY_OUTCOME_ALREADY_ANSWERED
        if not question.fits(reply):
            return callback.REPLY_OUTCOME_INVALID
        self._end(question, reply)
        return callback.REPLY_OUTCOME_ACCEPTED

    def _outcome_of_unknown(self, token: str) -> Outcome:
        deadline = self._tokens.deadline(token)
        if deadline is None:
            return callback.REPLY_OUTCOME_UNKNOWN_TOKEN
        late = self._clock.time() >= deadline
        return callback.REPLY_OUTCOME_LATE if late else callback.REPLY_OUTCOME_ALREADY_ANSWERED

    def _expire(self, question: Question) -> None:
        holders = tuple(question.holders)
        for seat in holders:
            seat.is_tardy = True
            seat.handler.withdraw(question.message.token)
            self._release(seat, question)
        self._end(question, None)
        for seat in sorted(holders, key=rank):
            self._fill(seat)

    def _end(self, question: Question, reply: callback.Reply | None) -> None:
        """Tell who asked, once. Handlers that have the question keep their place for it until they reply."""
        on_end, question.on_end = question.on_end, None
        question.set_patience(None)
        self._stop_waiting(question)
        self._forget_if_idle(question)
        if on_end is not None:
            on_end(reply)

    def _release(self, seat: Seat, question: Question) -> None:
        seat.held.pop(question.message.token, None)
        question.holders.discard(seat)
        self._forget_if_idle(question)

    def _forget_if_idle(self, question: Question) -> None:
        if question.on_end is None and not question.holders:
            if question.expiry is not None:
                question.expiry.cancel()
            self._questions.pop(question.message.token, None)

    def _stop_waiting(self, question: Question) -> None:
        if question.is_waiting:
            question.is_waiting = False
            waiting = self._waiting[question.topic]
            del waiting[bisect_left(waiting, question)]
            if not waiting:
                del self._waiting[question.topic]

    def _unseat(self, seat: Seat, topic: Topic) -> None:
        seats = self._seats.get(topic, {})
        seats.pop(seat, None)
        if not seats:
            self._seats.pop(topic, None)

    def _give_up(self, topics: Iterable[Topic]) -> None:
        """End what does not wait for a handler to connect, where none is left."""
        for topic in topics:
            if not self._is_served(topic):
                for question in tuple(self._waiting.get(topic, ())):
                    if not (question.waits or question.holders):
                        self._end(question, None)
