"""Callbacks between peers: local handlers take callback requests of peers, and handlers of peers take local ones.

The gateway that got the callback from the platform decides everything: which handler gets the request, which reply
counts, when it is over. The gateway with the handler passes messages on, and never gives the handler more requests than
it takes, from whichever gateway. No other gateway remembers anything, and nothing is stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count

from d1gateway.peer.v1 import messages_pb2 as peer
from gateway.aio.clock import Clock, Timer
from gateway.callbacks.cluster.broker import SharedBroker
from gateway.callbacks.cluster.messages import Link, add_sessions
from gateway.callbacks.cluster.peers import Peers
from gateway.callbacks.model import OPEN_OUTCOMES, Handler, HandlerSession, OnOutcome, Outcome, RelayCounts, Topic
from gateway.callbacks.tokens import owner_of
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["Relay"]

_TICK_SECONDS = 0.5
_OUTCOME_SECONDS = 2.0
"""How long a handler waits for the outcome of its reply from a peer."""


@dataclass(slots=True)
class _ForwardedReply:
    """A callback reply whose outcome a peer decides."""

    owner: str
    message: peer.PeerMessage
    is_sent: bool
    session: HandlerSession
    is_released: bool
    """Whether the handler's room is free again, so that it may have got another callback request since."""
    on_outcome: OnOutcome
    timeout: Timer


class Relay:
    """The `gateway.callbacks.model.CallbackRegistry` of a gateway in a cluster, and its `Membership`."""

    def __init__(self, us: str, broker: SharedBroker, clock: Clock, link: Link) -> None:
        """Start without peers.

        Args:
            us: The id of this gateway. It owns the broker's tokens.
            broker: Knows the local handlers, and learns those of peers.
            clock: Times the presence messages.
            link: The connection to the peers.
        """
        self._us = us
        self._broker = broker
        self._clock = clock
        self._link = link
        self._counts = RelayCounts()
        self._peers = Peers(us, broker, clock, link, self._counts)
        self._sessions: dict[int, HandlerSession] = {}
        self._session_ids: dict[HandlerSession, int] = {}
        self._declined: dict[int, dict[str, None]] = {}
        """The peers to notify when a local handler has room, by session id."""
        self._forwarded: dict[int, _ForwardedReply] = {}
        self._numbers = count(1)
        self._ticks = 0
        self._ticking: Timer | None = None
        self._is_draining = False

    # ------------------------------------------------------------------------------------------- for the process

    def start(self) -> None:
        """Start to announce the local handlers."""
        self._tick()

    def stop(self) -> None:
        """Announce that the local handlers are gone, and stop."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        self._sessions.clear()
        self._session_ids.clear()
        self._announce()
        for number in tuple(self._forwarded):
            self._settle(number, callback.REPLY_OUTCOME_LATE)

    def linked(self) -> None:
        """Announce the local handlers, and send unsent replies, because the peers are reachable again."""
        self._announce(wants_reply=True)
        for forwarded in self._forwarded.values():
            forwarded.is_sent = forwarded.is_sent or self._link.send(forwarded.owner, forwarded.message)

    @property
    def gateway_id(self) -> str:
        """See `gateway.callbacks.model.Membership`."""
        return self._us

    @property
    def peers(self) -> Mapping[str, int]:
        """See `gateway.callbacks.model.Membership`."""
        return self._peers.handler_counts

    @property
    def relay_counts(self) -> RelayCounts:
        """See `gateway.callbacks.model.Membership`."""
        return self._counts

    # ---------------------------------------------------------------------------------------- for our handlers

    def connect(self, handler: Handler, topics: Iterable[Topic], max_in_flight: int) -> HandlerSession:
        """Register a handler; see `gateway.callbacks.model.CallbackRegistry`."""
        session = self._broker.connect(handler, topics, max_in_flight)
        number = next(self._numbers)
        self._sessions[number], self._session_ids[session] = session, number
        self._announce()
        return session

    def drain(self, session: HandlerSession) -> None:
        """Send a handler no further callback requests; see `gateway.callbacks.model.CallbackRegistry`."""
        self._broker.drain(session)
        self._announce()

    def disconnect(self, session: HandlerSession) -> None:
        """Unregister a handler; see `gateway.callbacks.model.CallbackRegistry`."""
        number = self._session_ids.pop(session, 0)
        self._sessions.pop(number, None)
        self._declined.pop(number, None)
        for token in session.held:
            # To the peer that waits, a handler that is gone would be one of the attempts.
            if owner_of(token) != self._us and session.handler.withdraw(token):
                self._decline(owner_of(token), number, token)
        self._broker.disconnect(session)
        self._announce()

    def take(self, session: HandlerSession, reply: callback.CallbackReply, on_outcome: OnOutcome) -> None:
        """Take a callback reply. The gateway that got the callback decides its outcome.

        The outcome is LATE if that gateway does not respond in time: as far as is known, nobody waits there.
        """
        token, owner = reply.token, owner_of(reply.token)
        pending = session.held.get(token)
        if owner == self._us or (pending is None and owner not in self._peers):
            self._broker.take(session, reply, on_outcome)
            return
        number = next(self._numbers)
        timeout = self._clock.call_at(
            self._clock.time() + _OUTCOME_SECONDS, self._settle, number, callback.REPLY_OUTCOME_LATE
        )
        message = peer.PeerMessage(sender=self._us)
        message.reply.handler_session_id = self._session_ids.get(session, 0)
        message.reply.number = number
        message.reply.callback_reply.CopyFrom(reply)
        # The owner may not have heard of this session yet, so the message says what it may reply to.
        for issuer_id, kind in session.topics if pending is None else (pending.topic,):
            message.reply.topics.add(issuer_id=issuer_id, kind=kind)
        is_sent = self._link.send(owner, message)
        # A reply of the wrong kind leaves the request with the handler, which should send a right one.
        is_released = pending is not None and pending.fits(reply)
        self._forwarded[number] = _ForwardedReply(owner, message, is_sent, session, is_released, on_outcome, timeout)
        if is_released:
            self._broker.hand_back(session, token)

    def refresh(self, request: callback.CallbackRequest) -> bool:
        """Set the time left of a callback request; see `gateway.callbacks.model.CallbackRegistry`."""
        return self._broker.refresh(request)

    def begin_drain(self) -> None:
        """Take no further callback requests from peers; see `gateway.callbacks.model.CallbackRegistry`."""
        self._is_draining = True
        self._announce()

    @property
    def is_idle(self) -> bool:
        """Whether no gateway waits for a local handler's reply, and no local handler for the outcome of its reply."""
        held = (token for session in self._sessions.values() for token in session.held)
        return self._broker.is_idle and not self._forwarded and all(owner_of(token) == self._us for token in held)

    # --------------------------------------------------------------------------------------------- for peers

    def receive(self, message: peer.PeerMessage) -> None:
        """Process a message of a peer; ignore unknown kinds. The relay owns the message."""
        sender = message.sender
        if sender == self._us:
            return
        match message.WhichOneof("content"):
            case "presence":
                self._peers.update(sender, message.presence)
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
        session_id, request = forwarded.handler_session_id, forwarded.callback_request
        session = self._sessions.get(session_id)
        seconds = request.time_left.ToMilliseconds() / 1000 - self._peers.delay(sender, forwarded.sent_at_seconds)
        if session is not None and seconds > 0 and self._broker.relay(session, request, seconds):
            self._counts.received += 1
            return
        self._decline(sender, session_id, request.token)
        if session is not None:
            self._declined.setdefault(session_id, {})[sender] = None
            session.on_room = partial(self._offer, session_id)

    def _decline(self, gateway: str, session_id: int, token: str) -> None:
        declined = peer.DeclinedRequest(handler_session_id=session_id, token=token)
        self._link.send(gateway, peer.PeerMessage(sender=self._us, declined=declined))

    def _withdraw(self, withdrawn: peer.WithdrawnRequest) -> None:
        session = self._sessions.get(withdrawn.handler_session_id)
        if session is not None:
            self._broker.withdraw(session, withdrawn.token)

    def _offer(self, session_id: int) -> None:
        capacity = peer.Capacity(handler_session_id=session_id)
        for gateway in self._declined.pop(session_id, ()):
            self._link.send(gateway, peer.PeerMessage(sender=self._us, capacity=capacity))

    def _settle(self, number: int, outcome: Outcome) -> None:
        forwarded = self._forwarded.pop(number, None)
        if forwarded is None:
            return
        forwarded.timeout.cancel()
        if not forwarded.is_released and outcome not in OPEN_OUTCOMES:
            self._broker.hand_back(forwarded.session, forwarded.message.reply.callback_reply.token)
        forwarded.on_outcome(outcome)

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
