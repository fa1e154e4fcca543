"""The messages between peers (``proto/d1gateway/peer/v1``), and the link that carries them."""

from collections.abc import Mapping
from typing import Protocol

from d1gateway.peer.v1 import messages_pb2 as peer
from gateway.callbacks.model import HandlerSession, Topic

__all__ = ["Link", "add_sessions", "topics_of"]


class Link(Protocol):
    """The connection to the peers. It may lose a message, and never carries one twice.

    Messages to one peer stay in order, and so do those to all; but these and those may overtake each other.
    """

    def broadcast(self, message: peer.PeerMessage) -> None:
        """Send a message to every peer."""
        ...

    def send(self, gateway: str, message: peer.PeerMessage) -> bool:
        """Send a message to one peer.

        Returns:
            Whether the message was taken. If not, it is never sent, so that another one can replace it.
        """
        ...


def add_sessions(presence: peer.Presence, sessions: Mapping[int, HandlerSession], *, is_draining: bool) -> None:
    """Add local handler sessions to a message.

    Args:
        presence: The message.
        sessions: The sessions by id.
        is_draining: Whether the gateway takes no further callback requests from its peers.
    """
    # Most handlers share their topics, so the message lists each topic once.
    indexes: dict[Topic, int] = {}
    for session_id, session in sessions.items():
        presence.handler_sessions.add(
            id=session_id,
            topic_indexes=[indexes.setdefault(topic, len(indexes)) for topic in sorted(session.topics)],
            max_in_flight=session.max_in_flight,
            is_draining=session.is_draining or is_draining,
            has_room=session.has_room,
        )
    for issuer_id, kind in indexes:
        presence.topics.add(issuer_id=issuer_id, kind=kind)


def topics_of(presence: peer.Presence, session: peer.HandlerSession) -> list[Topic]:
    """Return the topics of a handler of a peer."""
    topics = (presence.topics[index] for index in session.topic_indexes)
    return sorted((topic.issuer_id, topic.kind) for topic in topics)
