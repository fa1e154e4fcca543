"""The link between gateways, over a real NATS server that goes and comes back."""

import asyncio
from contextlib import AsyncExitStack

from adapters.nats.callbacks.link import NatsLink
from d1gateway.peer.v1 import messages_pb2 as peer
from sandbox.nats import NatsServer
from tests.integration.nats.nats_storages import disconnected, opened, recovered, settings_for_nats

_SENDER, _RECEIVER = "a" * 16, "b" * 16
_SECONDS = 30.0


def _numbered(number: int) -> peer.PeerMessage:
    return peer.PeerMessage(sender=_SENDER, capacity=peer.Capacity(handler_session_id=number))


async def test_a_message_that_the_link_refuses_never_arrives(server: NatsServer) -> None:
    settings = settings_for_nats(server)
    async with opened(settings) as storage, AsyncExitStack() as stack:
        # Over one connection, the receiver hears again before the sender can send.
        sender, receiver = (NatsLink(storage.connection, settings.prefix, each) for each in (_SENDER, _RECEIVER))
        stack.push_async_callback(sender.close)
        stack.push_async_callback(receiver.close)
        arrived: asyncio.Queue[int] = asyncio.Queue()
        await sender.start(lambda _: None)
        await receiver.start(lambda message: arrived.put_nowait(message.capacity.handler_session_id))
        await server.kill()
        await disconnected(storage)

        assert not sender.send(_RECEIVER, _numbered(0))
        await server.restart()
        await recovered(storage)
        refused = 1
        # Until too many wait.
        while sender.send(_RECEIVER, _numbered(refused)):
            refused += 1

        async with asyncio.timeout(_SECONDS):
            assert [await arrived.get() for _ in range(1, refused)] == [*range(1, refused)]
            assert sender.send(_RECEIVER, _numbered(refused + 1))
            assert await arrived.get() == refused + 1
