"""The broker: sends each callback request to a connected handler, and accepts exactly one reply.

It is a state machine without I/O. Its clock may be simulated, so tests play long scenarios in no time.
``issuer/callback/v1/service.proto`` documents what handlers can rely on.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from itertools import count

from gateway.aio.clock import Clock
from gateway.callbacks.model import (
    KINDS,
    MIN_PASS_ON_SECONDS,
    OPEN_OUTCOMES,
    Handler,
    HandlerSession,
    OnEnd,
    OnOutcome,
    Outcome,
    PendingCallback,
    RemoteId,
    Topic,
    kind_of,
    rank,
)
from gateway.callbacks.tokens import CallbackTokens
from gateway.callbacks.waiting import WaitingCallbacks
from gateway.ports.callbacks import Attempts, CallbackOutcome, NoReply
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["Broker", "Handler", "HandlerSession", "Outcome", "Topic", "kind_of"]

_MAX_PENDING = 10_000
"""The limit on open callbacks; each holds memory until its deadline."""


class Broker:
    """Sends callback requests to handlers and returns their replies."""

    def __init__(
        self,
        clock: Clock,
        *,
        wall_clock: Callable[[], float] = time.time,
        tokens: CallbackTokens | None = None,
    ) -> None:
        """Start without handlers.

        Args:
            clock: Measures the deadlines.
            wall_clock: Returns the time that handlers see, in seconds since 1970 (UTC).
            tokens: Makes the tokens; by default under a new key.
        """
        self._clock = clock
        self._wall_clock = wall_clock
        self._tokens = tokens or CallbackTokens()
        self._numbers = count(1)
        self._turns = count(1)
        # Dictionaries, not sets, so that the order is the same in every run.
        self._sessions: dict[Topic, dict[HandlerSession, None]] = {}
        self._pending: dict[str, PendingCallback] = {}
        self._waiting = WaitingCallbacks()

    # ---------------------------------------------------------------------------------------- for the platform

    async def ask(
        self,
        request: callback.CallbackRequest,
        seconds: float,
        *,
        attempts: Attempts = Attempts(),
        wait_for_handler: bool = True,
    ) -> callback.CallbackReply | NoReply:
        """Send a callback request and wait for the accepted reply; see `gateway.ports.CallbackBus`."""
        ended: asyncio.Future[callback.CallbackReply | NoReply] = asyncio.get_running_loop().create_future()
        abandon = self.begin(
            request, seconds, partial(_resolve, ended), attempts=attempts, wait_for_handler=wait_for_handler
        )
        try:
            return await ended
        except asyncio.CancelledError:
            abandon()
            raise

    def begin(
        self,
        request: callback.CallbackRequest,
        seconds: float,
        on_end: OnEnd,
        *,
        attempts: Attempts = Attempts(),
        wait_for_handler: bool = True,
    ) -> Callable[[], None]:
        """Send a callback request without waiting for the reply.

        Args:
            request: The callback request with its issuer, correlation id and content. The broker owns it.
            seconds: The time for the reply.
            on_end: Called once, perhaps before this returns.
            attempts: How many handlers may get it.
            wait_for_handler: Whether to wait for a handler to connect if none is connected.

        Returns:
            A function that withdraws the callback request; `on_end` is not called after that.
        """
        topic = (request.issuer_id, kind_of(request))
        is_full = len(self._pending) >= _MAX_PENDING
        if is_full or not (wait_for_handler or self._is_served(topic)):
            on_end(CallbackOutcome.FALLBACK if is_full else CallbackOutcome.NO_HANDLER)
            return lambda: None
        deadline = self._clock.time() + seconds
        request.token = self._tokens.make(deadline)
        request.deadline.FromMilliseconds(round((self._wall_clock() + seconds) * 1000))
        number = next(self._numbers)
        pending = PendingCallback(request, topic, number, deadline, on_end, attempts, wait_for_handler)
        pending.expiry = self._clock.call_at(deadline, self._expire, pending)
        self._pending[request.token] = pending
        self._dispatch(pending)
        return partial(self._abandon, pending)

    # ------------------------------------------------------------------------------------------ for handlers

    def connect(
        self, handler: Handler, topics: Iterable[Topic], max_in_flight: int, remote_id: RemoteId | None = None
    ) -> HandlerSession:
        """Register a handler, and send it what waits for one before this returns.

        Args:
            handler: The connection to the handler.
            topics: The topics that it serves.
            max_in_flight: The number of callback requests that it takes at once.
            remote_id: The id of a handler of a peer; it is asked only if no local handler can be.
        """
        session = HandlerSession(handler, frozenset(topics), max_in_flight, remote_id=remote_id)
        for topic in session.topics:
            self._sessions.setdefault(topic, {})[session] = None
        self._fill(session)
        return session

    def drain(self, session: HandlerSession) -> None:
        """Send a handler no further callback requests."""
        session.is_draining = True
        self._end_unserved(session.topics)

    def disconnect(self, session: HandlerSession) -> None:
        """Unregister a handler, and pass its open callback requests on to others."""
        # Its last reply may still be processed; that must not bring it another request.
        session.is_draining = True
        for topic in session.topics:
            self._unregister(session, topic)
        for token, pending in tuple(session.held.items()):
            # Only its peer knows what a remote handler has read, and declines for it what it has not.
            is_unread = session.remote_id is None and session.handler.withdraw(token)
            self._take_back(session, pending, is_unread=is_unread)
        self._end_unserved(session.topics)

    def take(self, session: HandlerSession, reply: callback.CallbackReply, on_outcome: OnOutcome) -> None:
        """Take a callback reply; see `gateway.callbacks.model.CallbackRegistry`."""
        on_outcome(self.reply(session, reply, session.topics))

    def reply(
        self, session: HandlerSession | None, reply: callback.CallbackReply, topics: Collection[Topic]
    ) -> Outcome:
        """Process a valid callback reply and return its outcome.

        Args:
            session: The session that sent it; None for a handler of a peer that has left.
            reply: The reply.
            topics: What the stream that it came over is registered for, or as much of that as is needed.
        """
        pending = self._pending.get(reply.token)
        outcome = self._outcome_of_unknown(reply.token) if pending is None else self._settle(pending, reply, topics)
        if session is not None and outcome not in OPEN_OUTCOMES:
            session.is_slow = False
            if pending is not None:
                self._release(session, pending)
                self._fill(session)
        if pending is not None and outcome == callback.REPLY_OUTCOME_ACCEPTED:
            self._withdraw(pending)
        return outcome

    def refresh(self, request: callback.CallbackRequest) -> bool:
        """Set the time left of a callback request that is about to be sent; return whether any is left."""
        pending = self._pending.get(request.token)
        left_ms = 0 if pending is None else max(0, round((pending.deadline - self._clock.time()) * 1000))
        # Equivalent to FromMilliseconds, at half its cost.
        request.time_left.seconds, request.time_left.nanos = left_ms // 1000, left_ms % 1000 * 1_000_000
        return left_ms > 0

    def begin_drain(self) -> None:
        """Do nothing, as there are no peers; see `gateway.callbacks.model.CallbackRegistry`."""

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for a reply; see `gateway.callbacks.model.CallbackRegistry`."""
        return all(pending.on_end is None for pending in self._pending.values())

    @property
    def handler_counts(self) -> Mapping[str, int]:
        """The number of local handlers by kind; 0 for a kind without handlers."""
        sessions: dict[str, set[HandlerSession]] = {kind: set() for kind in KINDS}
        for (_, kind), registered in self._sessions.items():
            sessions.setdefault(kind, set()).update(
                session for session in registered if not (session.is_draining or session.remote_id)
            )
        return {kind: len(found) for kind, found in sessions.items()}

    @property
    def size(self) -> tuple[int, int]:
        """The number of callbacks, and of sessions per topic, held in memory."""
        return len(self._pending) + len(self._waiting), sum(len(sessions) for sessions in self._sessions.values())

    # -------------------------------------------------------------------------------------------- the machine

    def _is_served(self, topic: Topic) -> bool:
        return any(not session.is_draining for session in self._sessions.get(topic, ()))

    def _dispatch(self, pending: PendingCallback) -> None:
        """Send a callback request to the best handler that has not had it, or let it wait for one."""
        pending.set_timer(None)
        if not pending.can_be_sent(self._clock.time()):
            if pending.is_exhausted and not pending.wait_for_handler:
                self._end(pending, None)
            return
        sessions = self._sessions.get(pending.topic, ())
        best = min(
            (session for session in sessions if session.has_room and session.identity not in pending.tried),
            key=rank,
            default=None,
        )
        if best is not None:
            self._send(pending, best)
        elif not pending.is_waiting:
            self._waiting.add(pending)
            if pending.last_session is not None:
                latest = pending.deadline - MIN_PASS_ON_SECONDS
                pending.set_timer(self._clock.call_at(latest, self._waiting.remove, pending))

    def _fill(self, session: HandlerSession) -> None:
        """Send a handler what waits for one, the most urgent first."""
        now = self._clock.time()
        while session.has_room:
            urgent = self._waiting.most_urgent(session, now)
            if urgent is None:
                on_room, session.on_room = session.on_room, None
                if on_room is not None:
                    on_room()
                return
            self._send(urgent, session)

    def _send(self, pending: PendingCallback, session: HandlerSession) -> None:
        self._waiting.remove(pending)
        pending.tried[session.identity] = session
        pending.holders.add(session)
        pending.last_session = session
        session.held[pending.message.token] = pending
        session.last_turn = next(self._turns)
        left = pending.deadline - self._clock.time()
        pending.set_timer(self._clock.call_at(pending.deadline - left / 2, self._pass_on, pending))
        pending.message.attempt = len(pending.tried)
        self.refresh(pending.message)
        session.handler.send(pending.message)

    def _pass_on(self, pending: PendingCallback) -> None:
        """Send a callback request to another handler too, within limits, because its holders are slow."""
        for session in pending.holders:
            session.is_slow = True
        self._dispatch(pending)

    def _take_back(self, session: HandlerSession, pending: PendingCallback, *, is_unread: bool) -> None:
        """Release a handler that will not reply, and pass the callback request on.

        Args:
            session: The handler.
            pending: What it held.
            is_unread: Whether it cannot have read it, so that it counts for nothing.
        """
        self._release(session, pending)
        if is_unread:
            pending.tried.pop(session.identity, None)
        if pending.last_session is session:
            # Earlier holders have used up their time.
            previous = next(reversed(pending.tried.values()), None) if is_unread else None
            pending.last_session = previous if previous in pending.holders else None
            pending.set_timer(None)
        self._pass_on_if_free(pending)

    def _pass_on_if_free(self, pending: PendingCallback) -> None:
        """Send a callback request to a further handler, within limits, unless one has it to itself."""
        if pending.on_end is not None and pending.timer is None:
            self._waiting.remove(pending)
            self._dispatch(pending)

    def _settle(self, pending: PendingCallback, reply: callback.CallbackReply, topics: Collection[Topic]) -> Outcome:
        if self._clock.time() >= pending.deadline:
            return callback.REPLY_OUTCOME_LATE
        if pending.on_end is None:
            return callback.REPLY_OUTCOME_ALREADY_ANSWERED
        if pending.topic not in topics:
            return callback.REPLY_OUTCOME_NOT_REGISTERED
        if not pending.fits(reply):
            return callback.REPLY_OUTCOME_INVALID
        self._end(pending, reply)
        return callback.REPLY_OUTCOME_ACCEPTED

    def _outcome_of_unknown(self, token: str) -> Outcome:
        deadline = self._tokens.deadline(token)
        if deadline is None:
            return callback.REPLY_OUTCOME_UNKNOWN_TOKEN
        late = self._clock.time() >= deadline
        return callback.REPLY_OUTCOME_LATE if late else callback.REPLY_OUTCOME_ALREADY_ANSWERED

    def _expire(self, pending: PendingCallback) -> None:
        holders = tuple(pending.holders)
        # Before they are released: how it ends depends on whether somebody has it.
        self._end(pending, None)
        for session in holders:
            session.is_slow = True
            session.handler.withdraw(pending.message.token)
            self._release(session, pending)
        for session in sorted(holders, key=rank):
            self._fill(session)

    def _abandon(self, pending: PendingCallback) -> None:
        pending.on_end = None
        self._end(pending, None)
        self._withdraw(pending)

    def _end(self, pending: PendingCallback, reply: callback.CallbackReply | None) -> None:
        """Report the end, once. Handlers with the callback request hold it until they reply."""
        on_end, pending.on_end = pending.on_end, None
        pending.set_timer(None)
        self._waiting.remove(pending)
        self._forget_if_idle(pending)
        if on_end is not None:
            on_end(pending.no_reply if reply is None else reply)

    def _withdraw(self, pending: PendingCallback) -> None:
        """Take a callback request that is over back from the handlers that have not read it.

        The others are at work on it, which takes up their room until they reply or it expires.
        """
        released = [session for session in pending.holders if session.handler.withdraw(pending.message.token)]
        for session in released:
            self._release(session, pending)
        for session in sorted(released, key=rank):
            self._fill(session)

    def _release(self, session: HandlerSession, pending: PendingCallback) -> None:
        session.held.pop(pending.message.token, None)
        pending.holders.discard(session)
        self._forget_if_idle(pending)

    def _forget_if_idle(self, pending: PendingCallback) -> None:
        if pending.on_end is None and not pending.holders:
            if pending.expiry is not None:
                pending.expiry.cancel()
            self._pending.pop(pending.message.token, None)

    def _unregister(self, session: HandlerSession, topic: Topic) -> None:
        sessions = self._sessions.get(topic, {})
        sessions.pop(session, None)
        if not sessions:
            self._sessions.pop(topic, None)

    def _end_unserved(self, topics: Iterable[Topic]) -> None:
        """End the callbacks that do not wait for a handler to connect, where none is left."""
        for topic in topics:
            if not self._is_served(topic):
                for pending in self._waiting.of(topic):
                    if not (pending.wait_for_handler or pending.holders):
                        self._end(pending, None)


def _resolve(
    ended: "asyncio.Future[callback.CallbackReply | NoReply]", reply: "callback.CallbackReply | NoReply"
) -> None:
    # The waiting task may have been cancelled in this turn of the loop.
    if not ended.done():
        ended.set_result(reply)
