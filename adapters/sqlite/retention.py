"""How long events are kept."""

import sqlite3

from adapters.sqlite.events import sequence_before
from gateway.settings import EventLogSettings

__all__ = ["trim_some"]

_EVENTS_AT_ONCE = 100
"""How many events one transaction removes: so few that the appends that wait for it do not notice."""


def trim_some(
    connection: sqlite3.Connection, retention: EventLogSettings | None, now_ms: int, other_bytes: int = 0
) -> tuple[int, int]:
    """Remove some of the oldest events that need not be kept, in the caller's transaction.

    Args:
        connection: The writer's.
        retention: How long events are kept, and how much of the database they may take; None for ever. The file does
            not shrink: the space of what was removed is used again.
        now_ms: The time, in milliseconds since 1970 (UTC).
        other_bytes: How much of the database is not the events'.

    Returns:
        How many, and the highest sequence among them; 0 and 0 if there are none.
    """
    if retention is None:
        return 0, 0
    oldest = "SELECT sequence FROM event"
    if not _is_too_large(connection, retention, other_bytes):
        through = sequence_before(connection, now_ms - round(retention.retention_seconds * 1000))
        oldest += f" WHERE sequence <= {through}"
    row = connection.execute(
        f"SELECT count(*), max(sequence) FROM ({oldest} ORDER BY sequence LIMIT {_EVENTS_AT_ONCE})"  # noqa: S608  numbers
    ).fetchone()
    count: int = row[0]
    if not count:
        return 0, 0
    connection.execute("DELETE FROM event WHERE sequence <= ?", (row[1],))
    connection.execute("UPDATE meta SET trimmed_through = ?", (row[1],))
    return count, row[1]


def _is_too_large(connection: sqlite3.Connection, retention: EventLogSettings, other_bytes: int) -> bool:
    row = connection.execute(
        "SELECT (page_count - freelist_count) * page_size "
        "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
    ).fetchone()
    content_bytes: int = row[0]
    return content_bytes - other_bytes > retention.retention_bytes
