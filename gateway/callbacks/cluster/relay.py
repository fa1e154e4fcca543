"""A gateway among others: its handlers take questions of other gateways, and its questions go to handlers of theirs.

The gateway that D1 asked decides everything about a question: which handler gets it, which reply counts, when it is
over. The gateway that has the handler passes on what each says to the other, and sees to it that the handler has no
more questions than it takes, whoever asks. Nothing is remembered elsewhere, and nothing stored.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count

from gateway.aio.clock import Clock, Timer
from gateway.callbacks.cluster.broker import SharedBroker
from gateway.callbacks.cluster.messages import (
    Asked,
    Declined,
    HasRoom,
    Link,
    Message,
    Offer,
    Presence,
    Replied,
    Settled,
    Withdrawn,
)
from gateway.callbacks.cluster.peers import Neighbours
from gateway.callbacks.model import Handler, Outcome, Seat, Tell, Topic
from gateway.callbacks.tokens import owner_of
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["Relay"]

_TICK_SECONDS = 0.5
_OUTCOME_SECONDS = 2.0
"""How long a handler waits for what became of its reply, if another gateway has to say it."""
_KEEPS_THE_PLACE = {callback.REPLY_OUTCOME_INVALID, callback.REPLY_OUTCOME_UNKNOWN_TOKEN}


@dataclass(slots=True)
class _PassedOn:
    """A reply that another gateway decides on."""

    owner: str
    message: Replied
    is_sent: bool
    seat: Seat
    has_given_up_place: bool
    """Whether the handler may have been sent another question since."""
    tell: Tell
    patience: Timer


class Relay:
    """The `gateway.callbacks.model.Desk` of a gateway that has neighbours."""

    def __init__(self, us: str, broker: SharedBroker, clock: Clock, link: Link) -> None:
        """Begin alone.

        Args:
            us: Our own id. It is the owner of the broker's tokens.
            broker: Knows the handlers here, and gets to know those elsewhere.
            clock: Says when to tell that we are there.
            link: Leads to the other gateways.
        """
        self._us = us
        self._broker = broker
        self._clock = clock
        self._link = link
        self._neighbours = Neighbours(us, broker, clock, link)
        self._seats: dict[int, Seat] = {}
        self._handlers: dict[Seat, int] = {}
        """Our handlers, each with the number that the other gateways know it by."""
        self._declined: dict[int, dict[str, None]] = {}
        """Which gateways to tell that one of our handlers has room."""
        self._passed_on: dict[int, _PassedOn] = {}
        self._numbers = count(1)
        self._ticks = 0
        self._ticking: Timer | None = None
        self._is_draining = False

    # ------------------------------------------------------------------------------------------- for the process

    def start(self) -> None:
        """Begin to say that we are there."""
        self._tick()

    def stop(self) -> None:
        """Say that our handlers are gone, and nothing after that."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        self._seats.clear()
        self._handlers.clear()
        self._announce()
        for number in tuple(self._passed_on):
            self._settle(number, callback.REPLY_OUTCOME_LATE)

    def linked(self) -> None:
        """Note that the other gateways can be reached again."""
        self._announce(wants_answer=True)
        for passed_on in self._passed_on.values():
            passed_on.is_sent = passed_on.is_sent or self._link.send(passed_on.owner, passed_on.message)

    # ---------------------------------------------------------------------------------------- for our handlers

    def connect(self, handler: Handler, topics: Iterable[Topic], max_in_flight: int) -> Seat:
        """Let a handler take part; see `gateway.callbacks.model.Desk`."""
        seat = self._broker.connect(handler, topics, max_in_flight)
        number = next(self._numbers)
        self._seats[number], self._handlers[seat] = seat, number
        self._announce()
        return seat

    def drain(self, seat: Seat) -> None:
        """Send a handler no further questions; see `gateway.callbacks.model.Desk`."""
        self._broker.drain(seat)
        self._announce()

    def disconnect(self, seat: Seat) -> None:
        """Let a handler go; see `gateway.callbacks.model.Desk`."""
        number = self._handlers.pop(seat, 0)
        self._seats.pop(number, None)
        self._declined.pop(number, None)
        self._broker.disconnect(seat)
        self._announce()

    def take(self, seat: Seat, reply: callback.Reply, tell: Tell) -> None:
        """Take a handler's reply; see `gateway.callbacks.model.Desk`. Its question's gateway tells what became of it.

        If that gateway does not say so in time, the reply is LATE: nobody waits for it there, as far as is known.
        """
        token, owner = reply.token, owner_of(reply.token)
        question = seat.held.get(token)
        if owner == self._us or (question is None and owner not in self._neighbours):
            self._broker.take(seat, reply, tell)
            return
        number = next(self._numbers)
        patience = self._clock.call_at(
            self._clock.time() + _OUTCOME_SECONDS, self._settle, number, callback.REPLY_OUTCOME_LATE
        )
        message = Replied(self._us, self._handlers.get(seat, 0), number, reply)
        is_sent = self._link.send(owner, message)
        # A reply of the wrong kind is followed by a right one: until then the handler has the question.
        gives_up_place = question is not None and question.fits(reply)
        self._passed_on[number] = _PassedOn(owner, message, is_sent, seat, gives_up_place, tell, patience)
        if gives_up_place:
            self._broker.hand_back(seat, token)

    def refresh(self, message: callback.Question) -> bool:
        """Set how long there is for a question; see `gateway.callbacks.model.Desk`."""
        return self._broker.refresh(message)

    def leave(self) -> None:
        """Take no further questions of other gateways; see `gateway.callbacks.model.Desk`."""
        self._is_draining = True
        self._announce()

    @property
    def is_idle(self) -> bool:
        """Whether no gateway waits for what a handler here replies, nor a handler for what becomes of its reply."""
        held = (token for seat in self._seats.values() for token in seat.held)
        return self._broker.is_idle and not self._passed_on and all(owner_of(token) == self._us for token in held)

    # ------------------------------------------------------------------------------------ for other gateways

    def receive(self, message: Message) -> None:
        """Take what a gateway says."""
        if message.sender == self._us:
            return
        match message:
            case Presence():
                self._neighbours.hear(message)
                if message.wants_answer:
                    self._link.send(message.sender, self._presence())
            case Asked():
                self._relay(message)
            case Declined():
                self._neighbours.decline(message)
            case HasRoom():
                self._neighbours.offer(message)
            case Withdrawn():
                self._withdraw(message)
            case Replied():
                self._neighbours.reply(message)
            case Settled():
                self._settle(message.number, message.outcome)

    def _relay(self, asked: Asked) -> None:
        seat, question = self._seats.get(asked.handler), asked.question
        seconds = question.time_left.ToMilliseconds() / 1000 - self._neighbours.delay(asked)
        if seat is not None and seconds > 0 and self._broker.relay(seat, question, seconds):
            return
        self._link.send(asked.sender, Declined(self._us, asked.handler, question.token))
        if seat is not None:
            self._declined.setdefault(asked.handler, {})[asked.sender] = None
            seat.on_room = partial(self._offer, asked.handler)

    def _withdraw(self, withdrawn: Withdrawn) -> None:
        seat = self._seats.get(withdrawn.handler)
        if seat is not None:
            self._broker.withdraw(seat, withdrawn.token)

    def _offer(self, number: int) -> None:
        for gateway in self._declined.pop(number, ()):
            self._link.send(gateway, HasRoom(self._us, number))

    def _settle(self, number: int, outcome: Outcome) -> None:
        passed_on = self._passed_on.pop(number, None)
        if passed_on is None:
            return
        passed_on.patience.cancel()
        if not passed_on.has_given_up_place and outcome not in _KEEPS_THE_PLACE:
            self._broker.hand_back(passed_on.seat, passed_on.message.reply.token)
        passed_on.tell(outcome)

    # ---------------------------------------------------------------------------------------------- presence

    def _tick(self) -> None:
        self._ticking = self._clock.call_at(self._clock.time() + _TICK_SECONDS, self._tick)
        self._neighbours.tick()
        if self._ticks % 2 == 0:
            self._announce(wants_answer=self._ticks == 0)
        self._ticks += 1

    def _announce(self, *, wants_answer: bool = False) -> None:
        self._link.broadcast(self._presence(wants_answer=wants_answer))

    def _presence(self, *, wants_answer: bool = False) -> Presence:
        offers = tuple(
            Offer(
                number,
                seat.topics,
                seat.max_in_flight,
                is_draining=seat.is_draining or self._is_draining,
                has_room=seat.has_room,
            )
            for number, seat in self._seats.items()
        )
        return Presence(self._us, next(self._numbers), offers, wants_answer, self._clock.time())
