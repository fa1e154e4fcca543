"""The key-value store."""

from collections.abc import Callable
from functools import partial

from adapters.sqlite import entries
from adapters.sqlite.access import Access

__all__ = ["SqliteKeyValueStore"]


class SqliteKeyValueStore:
    """A `gateway.ports.KeyValueStore` beside the event log, in the same file and the same transactions.

    An entry whose time is over is not seen any more; `trim` makes room of it.
    """

    def __init__(self, access: Access, now_ms: Callable[[], int]) -> None:
        """Use `SqliteStorage.open`."""
        self._access = access
        self._now_ms = now_ms

    async def get(self, key: str) -> bytes | None:
        """Get a value; None if there is none, or none any more."""
        return await self._access.read(partial(entries.get, key=key, now_ms=self._now_ms()))

    async def put_if_absent(self, key: str, value: bytes, ttl_seconds: float) -> bytes | None:
        """Store a value unless there is one. Returns None if it was stored, otherwise the value that stands.

        A caller that is cancelled does not know: the value may be stored all the same.
        """
        now_ms = self._now_ms()
        return await self._access.change(
            partial(
                entries.put_if_absent,
                key=key,
                value=value,
                expire_time_ms=now_ms + _milliseconds(ttl_seconds),
                now_ms=now_ms,
            )
        )

    async def put(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Store a value, whatever stood there. A caller that is cancelled does not know, as for `put_if_absent`."""
        expire_time_ms = self._now_ms() + _milliseconds(ttl_seconds)
        await self._access.change(partial(entries.put, key=key, value=value, expire_time_ms=expire_time_ms))

    async def delete(self, key: str, value: bytes) -> None:
        """Forget a value if it still stands; that there is none, or another one, is no failure."""
        await self._access.change(partial(entries.delete, key=key, value=value))

    async def trim(self) -> int:
        """Remove now what has expired, a few entries at a time. Returns how many were removed."""
        removed = 0
        while count := await self._access.change(partial(entries.delete_expired, now_ms=self._now_ms())):
            removed += count
        return removed

    def end(self, why: str) -> None:
        """Refuse every call from now on."""
        self._access.end(why)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
