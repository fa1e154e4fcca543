"""How long events are kept."""

import sqlite3
from dataclasses import dataclass

from adapters.sqlite.events import sequence_before

__all__ = ["Retention", "trim_some"]

_EVENTS_AT_ONCE = 100
"""How many events one transaction removes: so few that the appends that wait for it do not notice."""


@dataclass(frozen=True, slots=True)
class Retention:
    """When the oldest events are removed. An event goes as soon as one of the limits asks for it."""

    max_age_seconds: float | None = None
    """How long after its receive time an event is kept at least; None for ever."""
    max_bytes: int | None = None
    """How much of the database the events may take, indexes included; None for any amount.

    The entries of the key-value store do not count: what bounds them is the time that each may stay. The file does not
    shrink: the space of what was removed is used again.
    """

    def __post_init__(self) -> None:
        for limit in (self.max_age_seconds, self.max_bytes):
            if limit is not None and limit <= 0:
                raise ValueError("A limit of the retention is more than 0, or None.")


def trim_some(
    connection: sqlite3.Connection, retention: Retention, now_ms: int, other_bytes: int = 0
) -> tuple[int, int]:
    """Remove some of the oldest events that need not be kept, in the caller's transaction.

    Args:
        connection: The writer's.
        retention: What need not be kept.
        now_ms: The time, in milliseconds since 1970 (UTC).
        other_bytes: How much of the database is not the events'.

    Returns:
        How many, and the highest sequence among them; 0 and 0 if there are none.
    """
    oldest = "SELECT sequence FROM event"
    if not _is_too_large(connection, retention, other_bytes):
        if retention.max_age_seconds is None:
            return 0, 0
        through = sequence_before(connection, now_ms - round(retention.max_age_seconds * 1000))
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


def _is_too_large(connection: sqlite3.Connection, retention: Retention, other_bytes: int) -> bool:
    if retention.max_bytes is None:
        return False
    row = connection.execute(
        "SELECT (page_count - freelist_count) * page_size "
        "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
    ).fetchone()
    content_bytes: int = row[0]
    return content_bytes - other_bytes > retention.max_bytes
