"""The edge in front of NATS JetStream: what an issuer might build who has a message bus already.

Each notification is published to one stream, on a file of one server, and answered 204 after the stream's
acknowledgement. A repeated one is stored again, so it does less than the gateway.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import nats
from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig

from gateway.ports import Appendable, Event

__all__ = ["jetstream"]

_STREAM: Final = "notifications"


class _Stream:
    """Takes events into the stream."""

    def __init__(self, stream: JetStreamContext) -> None:
        self._stream = stream

    async def append(self, event: Event) -> bool:
        # Cheaper than `publish`, which has a time limit too.
        await (await self._stream.publish_async(_STREAM, event.payload))
        return True


@asynccontextmanager
async def jetstream(url: str) -> AsyncIterator[Appendable]:
    """Connect to a server with an empty stream, for as long as the block lasts.

    Raises:
        nats.errors.Error: The server cannot be reached, or has no JetStream.
    """
    client = await nats.connect(url, allow_reconnect=False)
    try:
        stream = client.jetstream()
        await stream.add_stream(
            StreamConfig(name=_STREAM, subjects=[_STREAM], storage=StorageType.FILE, num_replicas=1)
        )
        yield _Stream(stream)
    finally:
        await client.close()
