"""The other gateways, and their handlers as seats at our broker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import structlog

from gateway.aio.clock import Clock
from gateway.callbacks.cluster.broker import SharedBroker
from gateway.callbacks.cluster.messages import (
    Asked,
    Declined,
    HasRoom,
    Link,
    Offer,
    Presence,
    Replied,
    Settled,
    Withdrawn,
)
from gateway.callbacks.model import RemoteId, Seat
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["Neighbours"]

_MOST_SILENT_TICKS = 6
_MOST_DRIFT = 0.001
"""By how much of the time that passes two clocks may drift apart."""

_log = structlog.get_logger(__name__)


class _RemoteHandler:
    """The way to a handler of another gateway; see `gateway.callbacks.model.Handler`."""

    def __init__(self, us: str, who: RemoteId, clock: Clock, link: Link, decline: Callable[[Declined], None]) -> None:
        self._us = us
        self._who = who
        self._clock = clock
        self._link = link
        self._decline = decline

    def send(self, question: callback.Question) -> None:
        gateway, number = self._who
        now = self._clock.time()
        if not self._link.send(gateway, Asked(self._us, number, question, now)):
            # Not before the broker is done with giving it. Nothing more until it is heard that there is room.
            self._clock.call_at(now, self._decline, Declined(gateway, number, question.token))

    def withdraw(self, token: str) -> None:
        self._link.send(self._who.gateway, Withdrawn(self._us, self._who.number, token))


@dataclass(slots=True)
class _Neighbour:
    heard: int = 0
    """The number of the latest that it said of its handlers."""
    silent_ticks: int = 0
    transit: float = inf
    """What its fastest message took, plus what our clock is ahead of its own."""
    measured_at: float = 0.0
    seats: dict[int, Seat] = field(default_factory=dict)


class Neighbours:
    """Has our broker ask the handlers of other gateways, as those say that they are there."""

    def __init__(self, us: str, broker: SharedBroker, clock: Clock, link: Link) -> None:
        """Begin without any.

        Args:
            us: Our own id.
            broker: Gives questions to the handlers.
            clock: Tells how late messages are.
            link: Leads to the gateways.
        """
        self._us = us
        self._broker = broker
        self._clock = clock
        self._link = link
        self._known: dict[str, _Neighbour] = {}

    def __contains__(self, gateway: object) -> bool:
        """Tell whether a gateway is there."""
        return gateway in self._known

    def hear(self, presence: Presence) -> None:
        """Take what a gateway says of its handlers."""
        neighbour = self._known.get(presence.sender)
        if neighbour is None:
            neighbour = self._known[presence.sender] = _Neighbour()
            _log.info("gateway heard", gateway=presence.sender, handlers=len(presence.offers))
        neighbour.silent_ticks = 0
        self.delay(presence)
        if presence.number <= neighbour.heard:
            return
        neighbour.heard = presence.number
        # Those that are there before those that are not: what the latter leave may be for the former.
        for offer in presence.offers:
            self._follow(presence.sender, neighbour, offer)
        for number in sorted(neighbour.seats.keys() - {offer.number for offer in presence.offers}):
            self._broker.disconnect(neighbour.seats.pop(number))

    def delay(self, message: Presence | Asked) -> float:
        """Tell how many seconds longer than usual a message took, so that no work is done that is out of time.

        Two clocks are not compared, but how their difference changes: it grows if we, the sender or the network in
        between were held up. Nothing is known of a gateway that is not there.
        """
        neighbour = self._known.get(message.sender)
        if neighbour is None:
            return inf
        now = self._clock.time()
        transit = now - message.sent_at
        neighbour.transit = min(transit, neighbour.transit + _MOST_DRIFT * (now - neighbour.measured_at))
        neighbour.measured_at = now
        return transit - neighbour.transit

    def decline(self, declined: Declined) -> None:
        """Take a question back that a handler was not sent."""
        seat = self._seat(declined.sender, declined.handler)
        if seat is not None:
            self._broker.decline(seat, declined.token)

    def offer(self, has_room: HasRoom) -> None:
        """Give a handler what waits for one."""
        seat = self._seat(has_room.sender, has_room.handler)
        if seat is not None:
            self._broker.offer(seat)

    def reply(self, replied: Replied) -> None:
        """Take a reply, also of a handler that is held to be gone, and answer what became of it."""
        outcome = self._broker.reply(self._seat(replied.sender, replied.handler), replied.reply)
        self._link.send(replied.sender, Settled(self._us, replied.number, outcome))

    def tick(self) -> None:
        """Let half a second pass; who has said nothing for long is gone.

        It is counted and not measured: a gateway that was itself held up for a while has not listened.
        """
        for gateway, neighbour in tuple(self._known.items()):
            neighbour.silent_ticks += 1
            if neighbour.silent_ticks >= _MOST_SILENT_TICKS:
                del self._known[gateway]
                _log.info("gateway not heard any more", gateway=gateway, handlers=len(neighbour.seats))
                for seat in neighbour.seats.values():
                    self._broker.disconnect(seat)

    def _follow(self, gateway: str, neighbour: _Neighbour, offer: Offer) -> None:
        seat = neighbour.seats.get(offer.number)
        if seat is None and not offer.is_draining:
            who = RemoteId(gateway, offer.number)
            handler = _RemoteHandler(self._us, who, self._clock, self._link, self.decline)
            seat = self._broker.connect(handler, sorted(offer.topics), offer.max_in_flight, who)
            neighbour.seats[offer.number] = seat
        elif seat is not None and offer.is_draining and not seat.is_draining:
            self._broker.drain(seat)
        elif seat is not None and offer.has_room and seat.is_full:
            self._broker.offer(seat)

    def _seat(self, gateway: str, number: int) -> Seat | None:
        neighbour = self._known.get(gateway)
        return None if neighbour is None else neighbour.seats.get(number)
