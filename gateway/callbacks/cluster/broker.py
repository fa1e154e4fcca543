"""The broker of a gateway in a cluster."""

from gateway.callbacks.broker import Broker
from gateway.callbacks.model import HandlerSession, PendingCallback, RemoteId, kind_of
from gateway.ports.callbacks import Attempts
from issuer.callback.v1 import messages_pb2 as callback

__all__ = ["SharedBroker"]


class SharedBroker(Broker):
    """A broker that shares handlers with those of peers, both ways."""

    def decline(self, remote_id: RemoteId, session: HandlerSession | None, token: str) -> None:
        """Note that a handler of a peer did not get a callback request and has no room until further notice.

        Args:
            remote_id: The handler.
            session: Its session; None if the peer has announced meanwhile that it is gone.
            token: The callback request's token.
        """
        if session is not None:
            session.is_full = True
        pending = self._pending.get(token)
        if pending is None:
            return
        if session in pending.holders:
            self._take_back(session, pending, is_unread=True)
        elif pending.tried.pop(remote_id, None) is not None:
            self._pass_on_if_free(pending)
        self._end_unserved((pending.topic,))

    def offer(self, session: HandlerSession) -> None:
        """Note that a handler of a peer has room again."""
        session.is_full = False
        self._fill(session)

    def relay(self, session: HandlerSession, request: callback.CallbackRequest, seconds: float) -> bool:
        """Send a callback request of a peer to a local handler.

        Args:
            session: The handler.
            request: The complete callback request. The broker owns it.
            seconds: The time left for the reply.

        Returns:
            False if the handler has no room for it.
        """
        topic = (request.issuer_id, kind_of(request))
        if request.token in session.held:
            return True
        if topic not in session.topics or not session.has_room:
            return False
        pending = self._pending.get(request.token)
        if pending is None:
            deadline = self._clock.time() + seconds
            # Nobody waits for it here: it only takes up room until its handler replies or it expires.
            pending = PendingCallback(
                request, topic, next(self._numbers), deadline, on_end=None, attempts=Attempts(), wait_for_handler=False
            )
            pending.expiry = self._clock.call_at(deadline, self._expire, pending)
            self._pending[request.token] = pending
        pending.holders.add(session)
        session.held[request.token] = pending
        session.last_turn = next(self._turns)
        request.deadline.FromMilliseconds(round((self._wall_clock() + seconds) * 1000))
        session.handler.send(request)
        return True

    def hand_back(self, session: HandlerSession, token: str) -> None:
        """Note that a handler has replied to a callback request of a peer."""
        session.is_slow = False
        pending = session.held.get(token)
        if pending is not None:
            self._release(session, pending)
            self._fill(session)

    def withdraw(self, session: HandlerSession, token: str) -> None:
        """Withdraw a callback request of a peer, because nobody waits for it there."""
        pending = session.held.get(token)
        if pending is None:
            return
        # A handler that works on it has no room for another one; if it has expired, the handler knows.
        if session.handler.withdraw(token) or self._clock.time() >= pending.deadline:
            self._release(session, pending)
            self._fill(session)
