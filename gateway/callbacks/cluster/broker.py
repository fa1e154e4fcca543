"""The broker of a gateway that has peers."""

from gateway.callbacks.broker import Broker
from gateway.callbacks.model import HandlerSession, PendingCallback, kind_of
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["SharedBroker"]


class SharedBroker(Broker):
    """A broker some of whose handlers are at peers, and whose handlers get callback requests of theirs."""

    def decline(self, session: HandlerSession, token: str) -> None:
        """Note that a handler of a peer was not sent a callback request, and has no room until it says so."""
        session.is_full = True
        question = session.held.get(token)
        if question is None:
            return
        del question.tried[session.who]
        self._release(session, question)
        if question.on_end is not None and question.asked_last is session:
            before = next(reversed(question.tried.values()), None)
            question.asked_last = before if before in question.holders else None
            self._stop_waiting(question)
            self._place(question)
            self._give_up((question.topic,))

    def offer(self, session: HandlerSession) -> None:
        """Note that a handler of a peer has room again."""
        session.is_full = False
        self._fill(session)

    def relay(self, session: HandlerSession, message: callback.Question, seconds: float) -> bool:
        """Send a callback request of a peer to one of our handlers.

        Args:
            session: The handler.
            message: The callback request, whole. It belongs to the broker now.
            seconds: How long there is for the reply.

        Returns:
            False if the handler has no room for it.
        """
        topic = (message.issuer_id, kind_of(message))
        if message.token in session.held:
            return True
        if topic not in session.topics or not session.has_room:
            return False
        question = self._questions.get(message.token)
        if question is None:
            deadline = self._clock.time() + seconds
            # Nobody waits for it here: it takes a place until its handler has replied, or its time is over.
            question = PendingCallback(
                message, topic, next(self._numbers), deadline, on_end=None, wait_for_handler=False
            )
            question.expiry = self._clock.call_at(deadline, self._expire, question)
            self._questions[message.token] = question
        question.holders.add(session)
        session.held[message.token] = question
        session.last_turn = next(self._turns)
        message.deadline.FromMilliseconds(round((self._wall_clock() + seconds) * 1000))
        session.handler.send(message)
        return True

    def hand_back(self, session: HandlerSession, token: str) -> None:
        """Note that a handler has replied to a callback request of a peer."""
        session.is_tardy = False
        question = session.held.get(token)
        if question is not None:
            self._release(session, question)
            self._fill(session)

    def withdraw(self, session: HandlerSession, token: str) -> None:
        """Take a callback request of a peer back, as its time is over there."""
        question = session.held.get(token)
        if question is not None:
            session.handler.withdraw(token)
            self._release(session, question)
            self._fill(session)
