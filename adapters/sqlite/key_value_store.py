"""The key-value store. Times in statements are in milliseconds since 1970 (UTC)."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from adapters.sqlite.access import Access
from gateway.aio.hinted_wait import wait_until_found
from gateway.ports import LISTED_KEY

__all__ = ["SqliteKeyValueStore", "estimate_bytes"]

_MAX_ENTRIES_PER_TRIM = 100
"""Maximum entries that one transaction removes: few enough not to delay the appends that wait for it."""

_KEYS_PER_READ: Final = 10_000
"""Few enough that a list, however long, delays no other read."""

_UPSERT = """
    INSERT INTO entry (key, value, expire_time_ms) VALUES (?1, ?2, ?3)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, expire_time_ms = excluded.expire_time_ms
"""


class SqliteKeyValueStore:
    """A `gateway.ports.KeyValueStore` beside the event log, in the same file and the same transactions.

    An expired entry is invisible; `trim` frees its space. If a caller of a method that writes is cancelled, the change
    may still be made.
    """

    def __init__(self, access: Access, now_ms: Callable[[], int]) -> None:
        """Use `SqliteStorage.open`."""
        self._access = access
        self._now_ms = now_ms
        self._waiting: dict[str, set[asyncio.Event]] = {}

    async def get(self, key: str) -> bytes | None:
        """Return a value; None if there is none or it has expired."""
        now_ms = self._now_ms()
        return await self._access.read(lambda connection: _get(connection, key, now_ms))

    async def wait(self, key: str, seconds: float) -> bytes | None:
        """Return a value as soon as there is one; None if there is none in the end."""
        stored = asyncio.Event()
        waiting = self._waiting.setdefault(key, set())
        waiting.add(stored)
        try:
            return await wait_until_found(lambda: self.get(key), stored, seconds)
        finally:
            waiting.remove(stored)
            if not waiting:
                del self._waiting[key]

    async def keys(self, prefix: str, *, after: str = "", limit: int | None = None) -> Sequence[str]:
        """List the keys below a prefix, in order: a range of the primary key."""
        now_ms, after = self._now_ms(), max(after, f"{prefix}.")
        found: list[str] = []
        while limit is None or len(found) < limit:
            # The end of the range is the character after the dot.
            values = (after, f"{prefix}/", now_ms, _KEYS_PER_READ)
            page = await self._access.read(partial(_keys, values=values))
            found += filter(LISTED_KEY.fullmatch, page)
            if len(page) < _KEYS_PER_READ:
                break
            after = page[-1]
        return found[:limit]

    async def put_if_absent(self, key: str, value: bytes, ttl_seconds: float) -> bytes | None:
        """Store a value unless there is one. Returns None if it was stored, otherwise the present value."""
        now_ms = self._now_ms()
        values = (key, value, now_ms + _milliseconds(ttl_seconds), now_ms)

        def change(connection: sqlite3.Connection) -> bytes | None:
            stored = connection.execute(f"{_UPSERT} WHERE entry.expire_time_ms <= ?4", values)
            return None if stored.rowcount == 1 else _get(connection, key, now_ms)

        present = await self._access.change(change)
        self._wake(key)
        return present

    async def put(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Store a value in place of any other."""
        values = (key, value, self._now_ms() + _milliseconds(ttl_seconds))
        await self._access.change(lambda connection: connection.execute(_UPSERT, values).rowcount)
        self._wake(key)

    async def delete(self, key: str, value: bytes) -> None:
        """Remove an entry if it has this value; otherwise do nothing."""
        statement = "DELETE FROM entry WHERE key = ? AND value = ?"
        await self._access.change(lambda connection: connection.execute(statement, (key, value)).rowcount)

    async def trim(self) -> int:
        """Remove the expired entries, a few in each transaction. Returns their number."""
        expired = "SELECT key FROM entry WHERE expire_time_ms <= ? ORDER BY expire_time_ms LIMIT ?"
        statement = f"DELETE FROM entry WHERE key IN ({expired})"  # noqa: S608  constant

        def change(connection: sqlite3.Connection) -> int:
            return connection.execute(statement, (self._now_ms(), _MAX_ENTRIES_PER_TRIM)).rowcount

        removed = 0
        while count := await self._access.change(change):
            removed += count
        return removed

    def end(self, why: str) -> None:
        """Reject every call from now on."""
        self._access.end(why)

    def _wake(self, key: str) -> None:
        for stored in self._waiting.get(key, ()):
            stored.set()


def estimate_bytes(connection: sqlite3.Connection) -> int:
    """Estimate how much of the database the entries take, rather too much than too little."""
    # The index holds the key too, a large value has its own pages, and pages are two thirds full.
    row = connection.execute(
        """
        SELECT coalesce(sum(2 * key_bytes + length(value) + 32 + iif(length(value) > 400, 4096, 0)), 0) * 3 / 2
        FROM (SELECT length(CAST(key AS BLOB)) AS key_bytes, value FROM entry)
        """
    ).fetchone()
    size: int = row[0]
    return size


def _get(connection: sqlite3.Connection, key: str, now_ms: int) -> bytes | None:
    row = connection.execute("SELECT value FROM entry WHERE key = ? AND expire_time_ms > ?", (key, now_ms)).fetchone()
    return None if row is None else bytes(row[0])


def _keys(connection: sqlite3.Connection, values: tuple[str, str, int, int]) -> list[str]:
    rows = connection.execute(
        "SELECT key FROM entry WHERE key > ? AND key < ? AND expire_time_ms > ? ORDER BY key LIMIT ?", values
    )
    return [row[0] for row in rows.fetchall()]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
