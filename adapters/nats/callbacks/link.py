"""Messages between gateways about callbacks, over core NATS, which stores nothing.

Each gateway subscribes to a subject for all gateways and to its own. The event log's stream includes neither.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from adapters.nats.callbacks.codec import UnreadableError, decode
from adapters.nats.connection.connection import Connection, Msg, Subscription
from adapters.nats.connection.errors import DisconnectedError, NatsError
from d1gateway.peer.v1 import messages_pb2 as peer
from gateway.logging.throttled import ThrottledLog

__all__ = ["NatsLink"]

_MAX_OUTGOING: Final = 20_000
"""Maximum messages that wait to be sent. With more, the connection hangs, and the messages are soon obsolete."""
_ALL: Final = "all"

_log = structlog.get_logger(__name__)


class NatsLink:
    """The `gateway.callbacks.cluster.messages.Link` of a gateway."""

    def __init__(self, connection: Connection, prefix: str, us: str) -> None:
        """Prepare; `start` subscribes.

        Args:
            connection: The connection to NATS.
            prefix: The prefix of the subjects.
            us: This gateway's id.
        """
        self._connection = connection
        self._base = f"{prefix}.gateway"
        self._us = us
        self._outgoing: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_MAX_OUTGOING)
        self._receive: Callable[[peer.PeerMessage], None] = lambda _: None
        self._subscriptions: list[Subscription] = []
        self._sending: asyncio.Task[None] | None = None
        self._ignored_log = ThrottledLog("peer_messages_ignored")

    def broadcast(self, message: peer.PeerMessage) -> None:
        """Send a message to every peer."""
        self._put(_ALL, message)

    def send(self, gateway: str, message: peer.PeerMessage) -> bool:
        """Send a message to one peer. Returns whether it was queued; if not, it is never sent."""
        return self._put(gateway, message)

    async def start(self, receive: Callable[[peer.PeerMessage], None]) -> None:
        """Begin to receive and to send.

        Args:
            receive: Called with each message of a peer.
        """
        self._receive = receive
        for name in (_ALL, self._us):
            self._subscriptions.append(await self._connection.subscribe(f"{self._base}.{name}", self._take))
        self._sending = asyncio.create_task(self._send_all())

    async def close(self) -> None:
        """Unsubscribe, and send what is queued."""
        for subscription in self._subscriptions:
            await self._connection.unsubscribe(subscription)
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        while not self._outgoing.empty():
            await self._publish(*self._outgoing.get_nowait())

    async def _send_all(self) -> None:
        while True:
            await self._publish(*await self._outgoing.get())

    def _take(self, message: Msg) -> None:
        try:
            decoded = decode(message.data)
        except UnreadableError as error:
            self._ignored_log.warning(cause=str(error))
        else:
            self._receive(decoded)

    def _put(self, name: str, message: peer.PeerMessage) -> bool:
        if not self._connection.is_connected or self._outgoing.full():
            return False
        self._outgoing.put_nowait((f"{self._base}.{name}", message.SerializeToString()))
        return True

    async def _publish(self, subject: str, payload: bytes) -> None:
        try:
            await self._connection.publish(subject, payload)
        except DisconnectedError:
            # The relay reacts to the loss of the connection.
            return
        except NatsError as error:
            _log.warning("peer_message_not_sent", size=len(payload), cause=str(error))
