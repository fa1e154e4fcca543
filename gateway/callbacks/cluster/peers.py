"""The peers of a gateway, and their handlers as handler sessions at the local broker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

import structlog

from d1gateway.peer.v1 import messages_pb2 as peer
from gateway.aio.clock import Clock
from gateway.callbacks.cluster.broker import SharedBroker
from gateway.callbacks.cluster.messages import Link, topics_of
from gateway.callbacks.model import HandlerSession, RelayCounts, RemoteId
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["Peers"]

_MAX_SILENT_TICKS = 6
_MAX_DRIFT = 0.001
"""The most that two clocks drift apart, as a fraction of the elapsed time."""

_log = structlog.get_logger(__name__)


class _RemoteHandler:
    """The connection to a handler of a peer; see `gateway.callbacks.model.Handler`."""

    def __init__(
        self,
        us: str,
        remote_id: RemoteId,
        clock: Clock,
        link: Link,
        decline: Callable[[str, peer.DeclinedRequest], None],
        counts: RelayCounts,
    ) -> None:
        self._us = us
        self._remote_id = remote_id
        self._clock = clock
        self._link = link
        self._decline = decline
        self._counts = counts

    def send(self, request: callback.CallbackRequest) -> None:
        gateway, session_id = self._remote_id
        now = self._clock.time()
        message = peer.PeerMessage(sender=self._us)
        # Filled in place: a constructor would copy the request once more.
        forwarded = message.request
        forwarded.handler_session_id = session_id
        forwarded.callback_request.CopyFrom(request)
        forwarded.sent_at_seconds = now
        if self._link.send(gateway, message):
            self._counts.sent += 1
        else:
            # Later, because the broker is still sending it. The peer reports when there is room again.
            declined = peer.DeclinedRequest(handler_session_id=session_id, token=request.token)
            self._clock.call_at(now, self._decline, gateway, declined)

    def withdraw(self, token: str) -> bool:
        gateway, session_id = self._remote_id
        withdrawn = peer.WithdrawnRequest(handler_session_id=session_id, token=token)
        self._link.send(gateway, peer.PeerMessage(sender=self._us, withdrawn=withdrawn))
        # The peer knows whether the handler is at work on it, and declines what the handler has no room for.
        return True


@dataclass(slots=True)
class _Peer:
    last_number: int = 0
    """The number of the latest presence message."""
    silent_ticks: int = 0
    transit: float = inf
    """The transit time of the fastest message, plus the lead of the local clock over the peer's clock."""
    measured_at: float = 0.0
    sessions: dict[int, HandlerSession] = field(default_factory=dict)


class Peers:
    """Registers the handlers of peers at the local broker, as the peers announce them."""

    def __init__(self, us: str, broker: SharedBroker, clock: Clock, link: Link, counts: RelayCounts) -> None:
        """Start without peers.

        Args:
            us: The id of this gateway.
            broker: Sends callback requests to the handlers.
            clock: Measures how late messages are.
            link: The connection to the peers.
            counts: Where what is sent to them is counted.
        """
        self._us = us
        self._counts = counts
        self._broker = broker
        self._clock = clock
        self._link = link
        self._known: dict[str, _Peer] = {}

    @property
    def handler_counts(self) -> Mapping[str, int]:
        """The number of handlers that take callback requests, by peer."""
        return {
            gateway: sum(not session.is_draining for session in known.sessions.values())
            for gateway, known in self._known.items()
        }

    def __contains__(self, gateway: object) -> bool:
        """Return whether a peer is present."""
        return gateway in self._known

    def update(self, gateway: str, presence: peer.Presence) -> None:
        """Apply what a peer announces about its handlers."""
        known = self._known.get(gateway)
        if known is None:
            known = self._known[gateway] = _Peer()
            _log.info("peer_joined", gateway=gateway, handlers=len(presence.handler_sessions))
        known.silent_ticks = 0
        self.delay(gateway, presence.sent_at_seconds)
        if presence.number <= known.last_number:
            return
        known.last_number = presence.number
        # Connect before disconnecting: a new handler may take over what a leaving one holds.
        for session in presence.handler_sessions:
            self._apply(gateway, known, presence, session)
        for session_id in sorted(known.sessions.keys() - {session.id for session in presence.handler_sessions}):
            self._broker.disconnect(known.sessions.pop(session_id))

    def delay(self, gateway: str, sent_at_seconds: float) -> float:
        """Return by how many seconds a message took longer than usual, so that no handler works on expired requests.

        Clocks are not compared; only the change of their difference counts. It grows if this gateway, the sender or
        the network stalls. The delay of an unknown peer is infinite.
        """
        known = self._known.get(gateway)
        if known is None:
            return inf
        now = self._clock.time()
        transit = now - sent_at_seconds
        known.transit = min(transit, known.transit + _MAX_DRIFT * (now - known.measured_at))
        known.measured_at = now
        return transit - known.transit

    def decline(self, gateway: str, declined: peer.DeclinedRequest) -> None:
        """Take back a callback request that a handler did not get."""
        session_id = declined.handler_session_id
        self._broker.decline(RemoteId(gateway, session_id), self._session(gateway, session_id), declined.token)

    def offer(self, gateway: str, capacity: peer.Capacity) -> None:
        """Send a handler with room what waits for one."""
        session = self._session(gateway, capacity.handler_session_id)
        if session is not None:
            self._broker.offer(session)

    def reply(self, gateway: str, forwarded: peer.ForwardedReply) -> None:
        """Take a callback reply, even of a handler that has left, and send back its outcome."""
        session = self._session(gateway, forwarded.handler_session_id)
        topics = {(topic.issuer_id, topic.kind) for topic in forwarded.topics}
        outcome = self._broker.reply(session, forwarded.callback_reply, topics)
        result = peer.ReplyResult(number=forwarded.number, outcome=outcome)
        self._link.send(gateway, peer.PeerMessage(sender=self._us, reply_result=result))

    def tick(self) -> None:
        """Count half a second, and remove peers that stay silent.

        Ticks are counted, not measured: a gateway that stalls itself cannot blame its peers for silence.
        """
        for gateway, known in tuple(self._known.items()):
            known.silent_ticks += 1
            if known.silent_ticks >= _MAX_SILENT_TICKS:
                del self._known[gateway]
                _log.info("peer_left", gateway=gateway, handlers=len(known.sessions))
                for session in known.sessions.values():
                    self._broker.disconnect(session)

    def _apply(self, gateway: str, known: _Peer, presence: peer.Presence, announced: peer.HandlerSession) -> None:
        session = known.sessions.get(announced.id)
        if session is None and not announced.is_draining:
            remote_id = RemoteId(gateway, announced.id)
            handler = _RemoteHandler(self._us, remote_id, self._clock, self._link, self.decline, self._counts)
            topics = topics_of(presence, announced)
            known.sessions[announced.id] = self._broker.connect(handler, topics, announced.max_in_flight, remote_id)
        elif session is not None and announced.is_draining and not session.is_draining:
            self._broker.drain(session)
        elif session is not None and announced.has_room and session.is_full:
            self._broker.offer(session)

    def _session(self, gateway: str, session_id: int) -> HandlerSession | None:
        known = self._known.get(gateway)
        return None if known is None else known.sessions.get(session_id)
