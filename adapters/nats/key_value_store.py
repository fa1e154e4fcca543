"""The key-value store."""

import asyncio

from adapters.nats.connection.errors import RequestTimeoutError
from adapters.nats.connection.failures import STORE
from adapters.nats.connection.subjects import token
from adapters.nats.jetstream.bucket import Bucket

__all__ = ["NatsKeyValueStore"]

_ATTEMPTS = 50
_PAUSE_SECONDS = 0.02


class NatsKeyValueStore:
    """A `gateway.ports.KeyValueStore` in a bucket that all gateways share.

    The server removes what has expired, within about a second. Whoever gets an error does not know: what was to be
    changed may be changed all the same.
    """

    def __init__(self, bucket: Bucket) -> None:
        """Use `NatsStorage.open`."""
        self._bucket = bucket

    async def get(self, key: str) -> bytes | None:
        """Get a value; None if there is none, or none any more."""
        with STORE.telling():
            found = await self._bucket.get(token(key))
        return None if found is None else found.value

    async def put_if_absent(self, key: str, value: bytes, ttl_seconds: float) -> bytes | None:
        """Store a value unless there is one. Returns None if it was stored, otherwise the value that stands."""
        place = token(key)
        with STORE.telling():
            for _ in range(_ATTEMPTS):
                if await self._bucket.put(place, value, expected=0, ttl_seconds=ttl_seconds) is not None:
                    return None
                if (found := await self._bucket.get(place)) is not None:
                    return found.value
                # Another one is on its way and not there yet, or has just gone.
                await asyncio.sleep(_PAUSE_SECONDS)
            raise RequestTimeoutError("NATS does not make up its mind about a key.")

    async def put(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Store a value, whatever stood there."""
        with STORE.telling():
            await self._bucket.put(token(key), value, ttl_seconds=ttl_seconds)

    async def delete(self, key: str, value: bytes) -> None:
        """Forget a value if it still stands; that there is none, or another one, is no failure."""
        place = token(key)
        with STORE.telling():
            found = await self._bucket.get(place)
            if found is not None and found.value == value:
                await self._bucket.delete(place, revision=found.revision)
