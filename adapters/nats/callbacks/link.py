"""What gateways send each other about callbacks, over core NATS: nothing of it is ever stored.

Each gateway listens where all are spoken to, and where it alone is. The event log's stream takes neither.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from adapters.nats.callbacks.codec import UnreadableError, decode
from adapters.nats.connection.connection import Connection, Msg, Subscription
from adapters.nats.connection.errors import DisconnectedError, NatsError
from d1gateway.peer.v1 import messages_pb2 as peer

__all__ = ["NatsLink"]

_MOST_OUTGOING: Final = 20_000
"""More than this is not kept to be sent: the connection hangs, and what waits for it is soon of no use."""
_LOG_PAUSE_SECONDS: Final = 60.0
_ALL: Final = "all"

_log = structlog.get_logger(__name__)


class NatsLink:
    """The `gateway.callbacks.cluster.messages.Link` of a gateway."""

    def __init__(self, connection: Connection, prefix: str, us: str) -> None:
        """Prepare.

        Args:
            connection: To NATS.
            prefix: What the subjects begin with.
            us: Our own id.
        """
        self._connection = connection
        self._base = f"{prefix}.gateway"
        self._us = us
        self._outgoing: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_MOST_OUTGOING)
        self._receive: Callable[[peer.PeerMessage], None] = lambda _: None
        self._listening: list[Subscription] = []
        self._carrying: asyncio.Task[None] | None = None
        self._ignored_count = 0
        self._quiet_until = 0.0

    def broadcast(self, message: peer.PeerMessage) -> None:
        """Send a message to every peer."""
        self._put(_ALL, message)

    def send(self, gateway: str, message: peer.PeerMessage) -> bool:
        """Send a message to one peer; returns whether there is a way at all."""
        return self._put(gateway, message)

    async def start(self, receive: Callable[[peer.PeerMessage], None]) -> None:
        """Begin to listen and to speak.

        Args:
            receive: Given what peers send.
        """
        self._receive = receive
        for name in (_ALL, self._us):
            self._listening.append(await self._connection.subscribe(f"{self._base}.{name}", self._take))
        self._carrying = asyncio.create_task(self._carry())

    async def close(self) -> None:
        """Say what is still to be said, then neither speak nor listen."""
        for subscription in self._listening:
            await self._connection.unsubscribe(subscription)
        if self._carrying is not None:
            self._carrying.cancel()
            await asyncio.gather(self._carrying, return_exceptions=True)
        while not self._outgoing.empty():
            await self._publish(*self._outgoing.get_nowait())

    async def _carry(self) -> None:
        while True:
            await self._publish(*await self._outgoing.get())

    def _take(self, message: Msg) -> None:
        try:
            said = decode(message.data)
        except UnreadableError as error:
            self._ignore(str(error))
        else:
            self._receive(said)

    def _put(self, name: str, message: peer.PeerMessage) -> bool:
        if not self._connection.is_connected or self._outgoing.full():
            return False
        self._outgoing.put_nowait((f"{self._base}.{name}", message.SerializeToString()))
        return True

    async def _publish(self, subject: str, payload: bytes) -> None:
        try:
            await self._connection.publish(subject, payload)
        except DisconnectedError:
            # The relay is told of that, and knows what to do about it.
            return
        except NatsError as error:
            _log.warning("peer_message_not_sent", size=len(payload), cause=str(error))

    def _ignore(self, cause: str) -> None:
        self._ignored_count += 1
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + _LOG_PAUSE_SECONDS
            _log.warning("peer_messages_ignored", count=self._ignored_count, cause=cause)
