"""A gateway with peers: its handlers take callback requests of theirs, and its callback requests go to their handlers.

The gateway that D1 called decides everything about a callback: which handler gets the request, which reply counts, when
it is over. The gateway that has the handler passes on what each says to the other, and sees to it that the handler has
no more requests than it takes, whoever asks. Nothing is remembered elsewhere, and nothing stored.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count

from d1gateway.peer.v1 import messages_pb2 as peer
from gateway.aio.clock import Clock, Timer
from gateway.callbacks.cluster.broker import SharedBroker
from gateway.callbacks.cluster.messages import Link, add_sessions
from gateway.callbacks.cluster.peers import Peers
from gateway.callbacks.model import Handler, HandlerSession, Outcome, Tell, Topic
from gateway.callbacks.tokens import owner_of
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["Relay"]

_TICK_SECONDS = 0.5
_OUTCOME_SECONDS = 2.0
"""How long a handler waits for what became of its reply, if a peer has to say it."""
_KEEPS_THE_PLACE = {callback.REPLY_OUTCOME_INVALID, callback.REPLY_OUTCOME_UNKNOWN_TOKEN}


@dataclass(slots=True)
class _PassedOn:
    """A reply that a peer decides on."""

    owner: str
    message: peer.PeerMessage
    is_sent: bool
    session: HandlerSession
    has_given_up_place: bool
    """Whether the handler may have been sent another callback request since."""
    tell: Tell
    patience: Timer


class Relay:
    """The `gateway.callbacks.model.CallbackRegistry` of a gateway that has peers."""

    def __init__(self, us: str, broker: SharedBroker, clock: Clock, link: Link) -> None:
        """Begin alone.

        Args:
            us: Our own id. It is the owner of the broker's tokens.
            broker: Knows the handlers here, and gets to know those elsewhere.
            clock: Says when to tell that we are there.
            link: Leads to the peers.
        """
        self._us = us
        self._broker = broker
        self._clock = clock
        self._link = link
        self._peers = Peers(us, broker, clock, link)
        self._sessions: dict[int, HandlerSession] = {}
        self._handlers: dict[HandlerSession, int] = {}
        """Our handlers, each with the id of its session that the peers know it by."""
        self._declined: dict[int, dict[str, None]] = {}
        """Which peers to tell that one of our handlers has room."""
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
        self._sessions.clear()
        self._handlers.clear()
        self._announce()
        for number in tuple(self._passed_on):
            self._settle(number, callback.REPLY_OUTCOME_LATE)

    def linked(self) -> None:
        """Note that the peers can be reached again."""
        self._announce(wants_reply=True)
        for passed_on in self._passed_on.values():
            passed_on.is_sent = passed_on.is_sent or self._link.send(passed_on.owner, passed_on.message)

    # ---------------------------------------------------------------------------------------- for our handlers

    def connect(self, handler: Handler, topics: Iterable[Topic], max_in_flight: int) -> HandlerSession:
        """Let a handler take part; see `gateway.callbacks.model.CallbackRegistry`."""
        session = self._broker.connect(handler, topics, max_in_flight)
        number = next(self._numbers)
        self._sessions[number], self._handlers[session] = session, number
        self._announce()
        return session

    def drain(self, session: HandlerSession) -> None:
        """Send a handler no further callback requests; see `gateway.callbacks.model.CallbackRegistry`."""
        self._broker.drain(session)
        self._announce()

    def disconnect(self, session: HandlerSession) -> None:
        """Let a handler go; see `gateway.callbacks.model.CallbackRegistry`."""
        number = self._handlers.pop(session, 0)
        self._sessions.pop(number, None)
        self._declined.pop(number, None)
        self._broker.disconnect(session)
        self._announce()

    def take(self, session: HandlerSession, reply: callback.Reply, tell: Tell) -> None:
        """Take a handler's reply; the gateway that D1 called decides whether it counts.

        If that gateway does not say so in time, the reply is LATE: nobody waits for it there, as far as is known.
        """
        token, owner = reply.token, owner_of(reply.token)
        question = session.held.get(token)
        if owner == self._us or (question is None and owner not in self._peers):
            self._broker.take(session, reply, tell)
            return
        number = next(self._numbers)
        patience = self._clock.call_at(
            self._clock.time() + _OUTCOME_SECONDS, self._settle, number, callback.REPLY_OUTCOME_LATE
        )
        message = peer.PeerMessage(sender=self._us)
        message.reply.handler_session_id = self._handlers.get(session, 0)
        message.reply.number = number
        message.reply.callback_reply.CopyFrom(reply)
        is_sent = self._link.send(owner, message)
        # A reply of the wrong kind is followed by a right one: until then the handler has the request.
        gives_up_place = question is not None and question.fits(reply)
        self._passed_on[number] = _PassedOn(owner, message, is_sent, session, gives_up_place, tell, patience)
        if gives_up_place:
            self._broker.hand_back(session, token)

    def refresh(self, message: callback.Question) -> bool:
        """Set how long there is for a callback request; see `gateway.callbacks.model.CallbackRegistry`."""
        return self._broker.refresh(message)

    def leave(self) -> None:
        """Take no further callback requests of peers; see `gateway.callbacks.model.CallbackRegistry`."""
        self._is_draining = True
        self._announce()

    @property
    def is_idle(self) -> bool:
        """Whether no gateway waits for what a handler here replies, nor a handler for what becomes of its reply."""
        held = (token for session in self._sessions.values() for token in session.held)
        return self._broker.is_idle and not self._passed_on and all(owner_of(token) == self._us for token in held)

    # --------------------------------------------------------------------------------------------- for peers

    def receive(self, message: peer.PeerMessage) -> None:
        """Take what a peer says, unless this version does not know its kind. The message belongs to the relay now."""
        sender = message.sender
        if sender == self._us:
            return
        match message.WhichOneof("content"):
            case "presence":
                self._peers.hear(sender, message.presence)
                if message.presence.wants_reply:
                    self._link.send(sender, self._presence())
            case "request":
                self._relay(sender, message.request)
            case "declined":
                self._peers.decline(sender, message.declined)
            case "withdrawn":
                self._withdraw(message.withdrawn)
            case "capacity":
                self._peers.offer(sender, message.capacity)
            case "reply":
                self._peers.reply(sender, message.reply)
            case "reply_result":
                self._settle(message.reply_result.number, message.reply_result.outcome)

    def _relay(self, sender: str, forwarded: peer.ForwardedRequest) -> None:
        session_id, question = forwarded.handler_session_id, forwarded.callback_request
        session = self._sessions.get(session_id)
        seconds = question.time_left.ToMilliseconds() / 1000 - self._peers.delay(sender, forwarded.sent_at_seconds)
        if session is not None and seconds > 0 and self._broker.relay(session, question, seconds):
            return
        declined = peer.DeclinedRequest(handler_session_id=session_id, token=question.token)
        self._link.send(sender, peer.PeerMessage(sender=self._us, declined=declined))
        if session is not None:
            self._declined.setdefault(session_id, {})[sender] = None
            session.on_room = partial(self._offer, session_id)

    def _withdraw(self, withdrawn: peer.WithdrawnRequest) -> None:
        session = self._sessions.get(withdrawn.handler_session_id)
        if session is not None:
            self._broker.withdraw(session, withdrawn.token)

    def _offer(self, session_id: int) -> None:
        capacity = peer.Capacity(handler_session_id=session_id)
        for gateway in self._declined.pop(session_id, ()):
            self._link.send(gateway, peer.PeerMessage(sender=self._us, capacity=capacity))

    def _settle(self, number: int, outcome: Outcome) -> None:
        passed_on = self._passed_on.pop(number, None)
        if passed_on is None:
            return
        passed_on.patience.cancel()
        if not passed_on.has_given_up_place and outcome not in _KEEPS_THE_PLACE:
            self._broker.hand_back(passed_on.session, passed_on.message.reply.callback_reply.token)
        passed_on.tell(outcome)

    # ---------------------------------------------------------------------------------------------- presence

    def _tick(self) -> None:
        self._ticking = self._clock.call_at(self._clock.time() + _TICK_SECONDS, self._tick)
        self._peers.tick()
        if self._ticks % 2 == 0:
            self._announce(wants_reply=self._ticks == 0)
        self._ticks += 1

    def _announce(self, *, wants_reply: bool = False) -> None:
        self._link.broadcast(self._presence(wants_reply=wants_reply))

    def _presence(self, *, wants_reply: bool = False) -> peer.PeerMessage:
        message = peer.PeerMessage(sender=self._us)
        message.presence.number = next(self._numbers)
        message.presence.wants_reply = wants_reply
        message.presence.sent_at_seconds = self._clock.time()
        add_sessions(message.presence, self._sessions, is_draining=self._is_draining)
        return message
