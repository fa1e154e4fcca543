"""The peers, and their handlers as handler sessions at our broker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import structlog

from d1gateway.peer.v1 import messages_pb2 as peer
from gateway.aio.clock import Clock
from gateway.callbacks.cluster.broker import SharedBroker
from gateway.callbacks.cluster.messages import Link, topics_of
from gateway.callbacks.model import HandlerSession, RemoteId
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["Peers"]

_MOST_SILENT_TICKS = 6
_MOST_DRIFT = 0.001
"""By how much of the time that passes two clocks may drift apart."""

_log = structlog.get_logger(__name__)


class _RemoteHandler:
    """The way to a handler of a peer; see `gateway.callbacks.model.Handler`."""

    def __init__(
        self, us: str, who: RemoteId, clock: Clock, link: Link, decline: Callable[[str, peer.DeclinedRequest], None]
    ) -> None:
        self._us = us
        self._who = who
        self._clock = clock
        self._link = link
        self._decline = decline

    def send(self, question: callback.Question) -> None:
        gateway, session_id = self._who
        now = self._clock.time()
        message = peer.PeerMessage(sender=self._us)
        # Filled in place: a request that is handed to a constructor is copied once more.
        forwarded = message.request
        forwarded.handler_session_id = session_id
        forwarded.callback_request.CopyFrom(question)
        forwarded.sent_at_seconds = now
        if not self._link.send(gateway, message):
            # Not before the broker is done with giving it. Nothing more until it is heard that there is room.
            declined = peer.DeclinedRequest(handler_session_id=session_id, token=question.token)
            self._clock.call_at(now, self._decline, gateway, declined)

    def withdraw(self, token: str) -> None:
        gateway, session_id = self._who
        withdrawn = peer.WithdrawnRequest(handler_session_id=session_id, token=token)
        self._link.send(gateway, peer.PeerMessage(sender=self._us, withdrawn=withdrawn))


@dataclass(slots=True)
class _Peer:
    heard: int = 0
    """The number of the latest that it said of its handlers."""
    silent_ticks: int = 0
    transit: float = inf
    """What its fastest message took, plus what our clock is ahead of its own."""
    measured_at: float = 0.0
    sessions: dict[int, HandlerSession] = field(default_factory=dict)


class Peers:
    """Has our broker ask the handlers of peers, as those say that they are there."""

    def __init__(self, us: str, broker: SharedBroker, clock: Clock, link: Link) -> None:
        """Begin without any.

        Args:
            us: Our own id.
            broker: Gives callback requests to the handlers.
            clock: Tells how late messages are.
            link: Leads to the peers.
        """
        self._us = us
        self._broker = broker
        self._clock = clock
        self._link = link
        self._known: dict[str, _Peer] = {}

    def __contains__(self, gateway: object) -> bool:
        """Tell whether a peer is there."""
        return gateway in self._known

    def hear(self, gateway: str, presence: peer.Presence) -> None:
        """Take what a peer says of its handlers."""
        known = self._known.get(gateway)
        if known is None:
            known = self._known[gateway] = _Peer()
            _log.info("peer_joined", gateway=gateway, handlers=len(presence.handler_sessions))
        known.silent_ticks = 0
        self.delay(gateway, presence.sent_at_seconds)
        if presence.number <= known.heard:
            return
        known.heard = presence.number
        # Those that are there before those that are not: what the latter leave may be for the former.
        for session in presence.handler_sessions:
            self._follow(gateway, known, presence, session)
        for session_id in sorted(known.sessions.keys() - {session.id for session in presence.handler_sessions}):
            self._broker.disconnect(known.sessions.pop(session_id))

    def delay(self, gateway: str, sent_at_seconds: float) -> float:
        """Tell how many seconds longer than usual a message took, so that no work is done that is out of time.

        Two clocks are not compared, but how their difference changes: it grows if we, the sender or the network in
        between were held up. Nothing is known of a gateway that is not there.
        """
        known = self._known.get(gateway)
        if known is None:
            return inf
        now = self._clock.time()
        transit = now - sent_at_seconds
        known.transit = min(transit, known.transit + _MOST_DRIFT * (now - known.measured_at))
        known.measured_at = now
        return transit - known.transit

    def decline(self, gateway: str, declined: peer.DeclinedRequest) -> None:
        """Take a callback request back that a handler was not sent."""
        session = self._session(gateway, declined.handler_session_id)
        if session is not None:
            self._broker.decline(session, declined.token)

    def offer(self, gateway: str, capacity: peer.Capacity) -> None:
        """Give a handler what waits for one."""
        session = self._session(gateway, capacity.handler_session_id)
        if session is not None:
            self._broker.offer(session)

    def reply(self, gateway: str, forwarded: peer.ForwardedReply) -> None:
        """Take a callback reply, also of a handler that is held to be gone, and say what became of it."""
        outcome = self._broker.reply(self._session(gateway, forwarded.handler_session_id), forwarded.callback_reply)
        result = peer.ReplyResult(number=forwarded.number, outcome=outcome)
        self._link.send(gateway, peer.PeerMessage(sender=self._us, reply_result=result))

    def tick(self) -> None:
        """Let half a second pass; who has said nothing for long is gone.

        It is counted and not measured: a gateway that was itself held up for a while has not listened.
        """
        for gateway, known in tuple(self._known.items()):
            known.silent_ticks += 1
            if known.silent_ticks >= _MOST_SILENT_TICKS:
                del self._known[gateway]
                _log.info("peer_left", gateway=gateway, handlers=len(known.sessions))
                for session in known.sessions.values():
                    self._broker.disconnect(session)

    def _follow(self, gateway: str, known: _Peer, presence: peer.Presence, announced: peer.HandlerSession) -> None:
        session = known.sessions.get(announced.id)
        if session is None and not announced.is_draining:
            who = RemoteId(gateway, announced.id)
            handler = _RemoteHandler(self._us, who, self._clock, self._link, self.decline)
            topics = topics_of(presence, announced)
            known.sessions[announced.id] = self._broker.connect(handler, topics, announced.max_in_flight, who)
        elif session is not None and announced.is_draining and not session.is_draining:
            self._broker.drain(session)
        elif session is not None and announced.has_room and session.is_full:
            self._broker.offer(session)

    def _session(self, gateway: str, session_id: int) -> HandlerSession | None:
        known = self._known.get(gateway)
        return None if known is None else known.sessions.get(session_id)
