"""The broker of a gateway that has peers."""

from gateway.callbacks.broker import Broker
from gateway.callbacks.model import Question, Seat, kind_of
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["SharedBroker"]


class SharedBroker(Broker):
    """A broker some of whose handlers are at peers, and whose handlers get callback requests of theirs."""

    def decline(self, seat: Seat, token: str) -> None:
        """Note that a handler of a peer was not sent a callback request, and has no room until it says so."""
        seat.is_full = True
        question = seat.held.get(token)
        if question is None:
            return
        del question.tried[seat.who]
        self._release(seat, question)
        if question.on_end is not None and question.asked_last is seat:
            before = next(reversed(question.tried.values()), None)
            question.asked_last = before if before in question.holders else None
            self._stop_waiting(question)
            self._place(question)
            self._give_up((question.topic,))

    def offer(self, seat: Seat) -> None:
        """Note that a handler of a peer has room again."""
        seat.is_full = False
        self._fill(seat)

    def relay(self, seat: Seat, message: callback.Question, seconds: float) -> bool:
        """Send a callback request of a peer to one of our handlers.

        Args:
            seat: The handler.
            message: The callback request, whole. It belongs to the broker now.
            seconds: How long there is for the reply.

        Returns:
            False if the handler has no room for it.
        """
        topic = (message.issuer_id, kind_of(message))
        if message.token in seat.held:
            return True
        if topic not in seat.topics or not seat.has_room:
            return False
        question = self._questions.get(message.token)
        if question is None:
            deadline = self._clock.time() + seconds
            # Nobody waits for it here: it takes a place until its handler has replied, or its time is over.
            question = Question(message, topic, next(self._numbers), deadline, on_end=None, waits=False)
            question.expiry = self._clock.call_at(deadline, self._expire, question)
            self._questions[message.token] = question
        question.holders.add(seat)
        seat.held[message.token] = question
        seat.last_turn = next(self._turns)
        message.deadline.FromMilliseconds(round((self._wall_clock() + seconds) * 1000))
        seat.handler.send(message)
        return True

    def hand_back(self, seat: Seat, token: str) -> None:
        """Note that a handler has replied to a callback request of a peer."""
        seat.is_tardy = False
        question = seat.held.get(token)
        if question is not None:
            self._release(seat, question)
            self._fill(seat)

    def withdraw(self, seat: Seat, token: str) -> None:
        """Take a callback request of a peer back, as its time is over there."""
        question = seat.held.get(token)
        if question is not None:
            seat.handler.withdraw(token)
            self._release(seat, question)
            self._fill(seat)
