"""The statements on entries. The functions that change something run in the caller's transaction.

Times are in milliseconds since 1970 (UTC).
"""

import sqlite3

__all__ = ["delete", "delete_expired", "estimate_bytes", "get", "put", "put_if_absent"]

_AT_ONCE = 100
"""How many entries one transaction removes, for the same reason as with events."""

_UPSERT = """
    INSERT INTO entry (key, value, expire_time_ms) VALUES (?1, ?2, ?3)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, expire_time_ms = excluded.expire_time_ms
"""


def get(connection: sqlite3.Connection, key: str, now_ms: int) -> bytes | None:
    """Get a value; None if there is none that has not expired."""
    row = connection.execute("SELECT value FROM entry WHERE key = ? AND expire_time_ms > ?", (key, now_ms)).fetchone()
    return None if row is None else bytes(row[0])


def put_if_absent(
    connection: sqlite3.Connection, key: str, value: bytes, expire_time_ms: int, now_ms: int
) -> bytes | None:
    """Store a value unless one stands that has not expired. Returns None if it was stored, else what stands."""
    stored = connection.execute(f"{_UPSERT} WHERE entry.expire_time_ms <= ?4", (key, value, expire_time_ms, now_ms))
    return None if stored.rowcount == 1 else get(connection, key, now_ms)


def put(connection: sqlite3.Connection, key: str, value: bytes, expire_time_ms: int) -> None:
    """Store a value, whatever stood there."""
    connection.execute(_UPSERT, (key, value, expire_time_ms))


def delete(connection: sqlite3.Connection, key: str, value: bytes) -> None:
    """Forget a value, if it stands."""
    connection.execute("DELETE FROM entry WHERE key = ? AND value = ?", (key, value))


def delete_expired(connection: sqlite3.Connection, now_ms: int) -> int:
    """Remove some of the entries whose time is over. Returns how many."""
    expired = "SELECT key FROM entry WHERE expire_time_ms <= ? ORDER BY expire_time_ms LIMIT ?"
    return connection.execute(f"DELETE FROM entry WHERE key IN ({expired})", (now_ms, _AT_ONCE)).rowcount  # noqa: S608  constant


def estimate_bytes(connection: sqlite3.Connection) -> int:
    """Tell about how much of the database the entries take, rather too much than too little."""
    # The key stands in the index too, a value that is not small gets pages of its own, and pages are two thirds full.
    row = connection.execute(
        """
        SELECT coalesce(sum(2 * key_bytes + length(value) + 32 + iif(length(value) > 400, 4096, 0)), 0) * 3 / 2
        FROM (SELECT length(CAST(key AS BLOB)) AS key_bytes, value FROM entry)
        """
    ).fetchone()
    size: int = row[0]
    return size
