"""The key-value store."""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence

from adapters.nats.connection.errors import STORE, RequestTimeoutError
from adapters.nats.jetstream.bucket import Bucket
from adapters.nats.jetstream.streams import token
from gateway.aio.hinted_wait import wait_until_found
from gateway.ports import LISTED_KEY

__all__ = ["NatsKeyValueStore"]

_MAX_ATTEMPTS = 50
_PAUSE_SECONDS = 0.02


class NatsKeyValueStore:
    """A `gateway.ports.KeyValueStore` in a bucket that all gateways share.

    The server removes expired entries within about a second. If a method that writes raises, the change may still be
    made.
    """

    def __init__(self, bucket: Bucket) -> None:
        """Use `NatsStorage.open`."""
        self._bucket = bucket

    async def get(self, key: str) -> bytes | None:
        """Return a value; None if there is none or it has expired."""
        with STORE.translated():
            found = await self._bucket.get(_subject(key))
        return None if found is None else found.value

    async def wait(self, key: str, seconds: float) -> bytes | None:
        """Return a value as soon as there is one, stored here or by a peer; None if there is none in the end."""
        stored = asyncio.Event()
        async with self._bucket.watched(_subject(key), stored.set):
            return await wait_until_found(lambda: self.get(key), stored, seconds)

    async def keys(self, prefix: str, *, after: str = "", limit: int | None = None) -> Sequence[str]:
        """List the keys below a prefix, in order. The server lists all of them each time."""
        with STORE.translated():
            found = sorted(await self._bucket.keys(f"{prefix}.>"))
        start = bisect_right(found, after)
        return found[start : None if limit is None else start + limit]

    async def put_if_absent(self, key: str, value: bytes, ttl_seconds: float) -> bytes | None:
        """Store a value unless there is one. Returns None if it was stored, otherwise the present value."""
        with STORE.translated(is_change=True):
            for _ in range(_MAX_ATTEMPTS):
                if await self._bucket.put(_subject(key), value, expected=0, ttl_seconds=ttl_seconds) is not None:
                    return None
                if (found := await self._bucket.get(_subject(key))) is not None:
                    return found.value
                # Another value is being stored, or has just expired.
                await asyncio.sleep(_PAUSE_SECONDS)
            raise RequestTimeoutError("Conflicting changes of an entry at NATS did not settle in time.")

    async def put(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Store a value in place of any other."""
        with STORE.translated(is_change=True):
            await self._bucket.put(_subject(key), value, ttl_seconds=ttl_seconds)

    async def delete(self, key: str, value: bytes) -> None:
        """Remove an entry if it has this value; otherwise do nothing."""
        with STORE.translated(is_change=True):
            found = await self._bucket.get(_subject(key))
            if found is not None and found.value == value:
                await self._bucket.delete(_subject(key), revision=found.revision)


def _subject(key: str) -> str:
    # A server lists the subjects below a prefix, so what is listed has a token for each of its own.
    return key if LISTED_KEY.fullmatch(key) else token(key)
