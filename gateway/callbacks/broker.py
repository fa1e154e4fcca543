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
    HandlerSession,
    OnEnd,
    Outcome,
    PendingCallback,
    RemoteId,
    Tell,
    Topic,
    kind_of,
    rank,
)
from gateway.callbacks.tokens import CallbackTokens
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["Broker", "Handler", "HandlerSession", "Outcome", "Topic", "kind_of"]

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
        self._sessions: dict[Topic, dict[HandlerSession, None]] = {}
        self._questions: dict[str, PendingCallback] = {}
        self._waiting: dict[Topic, list[PendingCallback]] = {}
        """The most urgent first."""

    # ------------------------------------------------------------------------------------------- for who asks

    async def ask(
        self, question: callback.Question, seconds: float, *, wait_for_handler: bool = True
    ) -> callback.Reply | None:
        """Ask, and wait for the reply that counts; see `gateway.ports.CallbackBus`."""
        ended: asyncio.Future[callback.Reply | None] = asyncio.get_running_loop().create_future()

        def end(reply: callback.Reply | None) -> None:
            # Whoever waited may have been cancelled in this very turn of the loop.
            if not ended.done():
                ended.set_result(reply)

        abandon = self.begin(question, seconds, end, wait_for_handler=wait_for_handler)
        try:
            return await ended
        finally:
            abandon()

    def begin(
        self, message: callback.Question, seconds: float, on_end: OnEnd, *, wait_for_handler: bool = True
    ) -> Callable[[], None]:
        """Ask without waiting.

        Args:
            message: The question, with its issuer, its correlation id and its request. It belongs to the broker now.
            seconds: How long there is for the reply.
            on_end: Called once, perhaps before this returns.
            wait_for_handler: Whether there is a point in waiting for a handler to connect while none is.

        Returns:
            What to call when nobody waits any more: `on_end` is not called after that.
        """
        topic = (message.issuer_id, kind_of(message))
        if len(self._questions) >= _MOST_OPEN or not (wait_for_handler or self._is_served(topic)):
            on_end(None)
            return lambda: None
        deadline = self._clock.time() + seconds
        message.token = self._tokens.make(deadline)
        message.deadline.FromMilliseconds(round((self._wall_clock() + seconds) * 1000))
        question = PendingCallback(message, topic, next(self._numbers), deadline, on_end, wait_for_handler)
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
    ) -> HandlerSession:
        """Let a handler take part. What waits for one is sent to it before this returns.

        Args:
            handler: The way to it.
            topics: What it answers.
            max_in_flight: How many questions it takes at once.
            remote_id: Which handler of another gateway it is: one that is asked if none of ours can be.
        """
        session = HandlerSession(handler, frozenset(topics), max_in_flight, remote_id=remote_id)
        for topic in session.topics:
            self._sessions.setdefault(topic, {})[session] = None
        self._fill(session)
        return session

    def drain(self, session: HandlerSession) -> None:
        """Send a handler no further questions."""
        session.is_draining = True
        self._give_up(session.topics)

    def disconnect(self, session: HandlerSession) -> None:
        """Let a handler go; others get what it leaves undone."""
        # A reply of its own may still be under way: that must not get it a question.
        session.is_draining = True
        for topic in session.topics:
            self._unseat(session, topic)
        for question in tuple(session.held.values()):
            self._release(session, question)
            # Those that had it before have used up their time for it.
            if question.on_end is not None and question.asked_last is session:
                question.asked_last = None
                self._place(question)
        self._give_up(session.topics)

    def take(self, session: HandlerSession, reply: callback.Reply, tell: Tell) -> None:
        """Take a handler's reply; see `gateway.callbacks.model.CallbackRegistry`."""
        tell(self.reply(session, reply))

    def reply(self, session: HandlerSession | None, reply: callback.Reply) -> Outcome:
        """Take a handler's reply, which keeps its contract, and tell what became of it.

        Args:
            session: Over whose stream it came; None for a handler of another gateway that has no session here any more.
            reply: The reply.
        """
        question = self._questions.get(reply.token)
        outcome = self._outcome_of_unknown(reply.token) if question is None else self._settle(question, reply)
        if session is not None and outcome not in {
            callback.REPLY_OUTCOME_INVALID,
            callback.REPLY_OUTCOME_UNKNOWN_TOKEN,
        }:
            session.is_tardy = False
            if question is not None:
                self._release(session, question)
                self._fill(session)
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
        """See `gateway.callbacks.model.CallbackRegistry`: one that is alone has nobody to tell."""

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for a reply; see `gateway.callbacks.model.CallbackRegistry`."""
        return all(question.on_end is None for question in self._questions.values())

    @property
    def handler_counts(self) -> Mapping[str, int]:
        """How many handlers take questions here, by kind; 0 of a kind that has none."""
        sessions: dict[str, set[HandlerSession]] = {kind: set() for kind in KINDS}
        for (_, kind), taken in self._sessions.items():
            sessions.setdefault(kind, set()).update(
                session for session in taken if not (session.is_draining or session.remote_id)
            )
        return {kind: len(found) for kind, found in sessions.items()}

    @property
    def size(self) -> tuple[int, int]:
        """How many questions, and how many sessions at topics, are held in memory."""
        waiting = sum(len(questions) for questions in self._waiting.values())
        return len(self._questions) + waiting, sum(len(sessions) for sessions in self._sessions.values())

    # -------------------------------------------------------------------------------------------- the machine

    def _is_served(self, topic: Topic) -> bool:
        return any(not session.is_draining for session in self._sessions.get(topic, ()))

    def _place(self, question: PendingCallback) -> None:
        """Give a question to the best handler that has not had it, or let it wait for one."""
        question.set_patience(None)
        if not question.may_be_given(self._clock.time()):
            return
        sessions = self._sessions.get(question.topic, ())
        best = min(
            (session for session in sessions if session.has_room and session.who not in question.tried),
            key=rank,
            default=None,
        )
        if best is not None:
            self._give(question, best)
        elif not question.is_waiting:
            question.is_waiting = True
            insort(self._waiting.setdefault(question.topic, []), question)
            if question.asked_last is not None:
                latest = question.deadline - LEAST_SECONDS
                question.set_patience(self._clock.call_at(latest, self._stop_waiting, question))

    def _fill(self, session: HandlerSession) -> None:
        """Give a handler what waits for one, the most urgent first."""
        now = self._clock.time()
        while session.has_room:
            waiting = (self._waiting.get(topic, ()) for topic in session.topics)
            first = [
                next((each for each in questions if each.may_be_given(now) and session.who not in each.tried), None)
                for questions in waiting
            ]
            urgent = min((each for each in first if each is not None), default=None)
            if urgent is None:
                on_room, session.on_room = session.on_room, None
                if on_room is not None:
                    on_room()
                return
            self._give(urgent, session)

    def _give(self, question: PendingCallback, session: HandlerSession) -> None:
        self._stop_waiting(question)
        question.tried[session.who] = session
        question.holders.add(session)
        question.asked_last = session
        session.held[question.message.token] = question
        session.last_turn = next(self._turns)
        left = question.deadline - self._clock.time()
        question.set_patience(self._clock.call_at(question.deadline - left / 2, self._pass_on, question))
        message = callback.Question()
        message.CopyFrom(question.message)
        message.attempt = len(question.tried)
        self.refresh(message)
        session.handler.send(message)

    def _pass_on(self, question: PendingCallback) -> None:
        """Ask another handler as well, if that may be: those that have the question take too long."""
        for session in question.holders:
            session.is_tardy = True
        self._place(question)

    def _settle(self, question: PendingCallback, reply: callback.Reply) -> Outcome:
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

    def _expire(self, question: PendingCallback) -> None:
        holders = tuple(question.holders)
        for session in holders:
            session.is_tardy = True
            session.handler.withdraw(question.message.token)
            self._release(session, question)
        self._end(question, None)
        for session in sorted(holders, key=rank):
            self._fill(session)

    def _end(self, question: PendingCallback, reply: callback.Reply | None) -> None:
        """Tell who asked, once. Handlers that have the question keep their place for it until they reply."""
        on_end, question.on_end = question.on_end, None
        question.set_patience(None)
        self._stop_waiting(question)
        self._forget_if_idle(question)
        if on_end is not None:
            on_end(reply)

    def _release(self, session: HandlerSession, question: PendingCallback) -> None:
        session.held.pop(question.message.token, None)
        question.holders.discard(session)
        self._forget_if_idle(question)

    def _forget_if_idle(self, question: PendingCallback) -> None:
        if question.on_end is None and not question.holders:
            if question.expiry is not None:
                question.expiry.cancel()
            self._questions.pop(question.message.token, None)

    def _stop_waiting(self, question: PendingCallback) -> None:
        if question.is_waiting:
            question.is_waiting = False
            waiting = self._waiting[question.topic]
            del waiting[bisect_left(waiting, question)]
            if not waiting:
                del self._waiting[question.topic]

    def _unseat(self, session: HandlerSession, topic: Topic) -> None:
        sessions = self._sessions.get(topic, {})
        sessions.pop(session, None)
        if not sessions:
            self._sessions.pop(topic, None)

    def _give_up(self, topics: Iterable[Topic]) -> None:
        """End what does not wait for a handler to connect, where none is left."""
        for topic in topics:
            if not self._is_served(topic):
                for question in tuple(self._waiting.get(topic, ())):
                    if not (question.wait_for_handler or question.holders):
                        self._end(question, None)
