"""The statements on events. `Appender` writes; each function is one short read."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import cache

from gateway.ports import Event, LogBounds, StoredEvent

__all__ = ["ROWS_PER_STATEMENT", "Appender", "read", "read_bounds", "read_subject", "sequence_before"]

ROWS_PER_STATEMENT = 128
"""Maximum events that one statement adds."""

_MAX_READ_BYTES = 1_048_576
"""Size of payloads after which a read ends: readers may hold them for long."""

# The fields of `Event` in their order, in two parts around a column that is not among them.
_COLUMNS = "sequence, issuer_id, kind, subject_id, operation_id, consumer_id, operation_type, status, receive_time_ms"
_LAST_COLUMNS = "payload, state"

# The inner query needs the index only. Without it, SQLite would sort the payloads of all of a subject's events.
_OF_SUBJECT = """sequence IN (
    SELECT sequence FROM event WHERE issuer_id = ? AND kind = ? AND subject_id = ? AND sequence > ?
    ORDER BY sequence LIMIT ?
)"""

_LAST = "(SELECT max(trimmed_through, coalesce((SELECT max(sequence) FROM event), 0)) FROM meta)"
"""The highest sequence ever assigned. Retention records what it removes."""


@cache
def _insert(rows: int) -> str:
    # OR ROLLBACK: with any other conflict clause SQLite keeps a statement journal for many rows, which costs more than
    # the insertion itself. A duplicate is no such conflict: ON CONFLICT skips its row.
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return (
        f"INSERT OR ROLLBACK INTO event ({_COLUMNS}, latest_receive_time_ms, {_LAST_COLUMNS}) VALUES {values} "  # noqa: S608  placeholders
        "ON CONFLICT (issuer_id, kind, subject_id, operation_id, operation_type, status, state) DO NOTHING"
    )


class Appender:
    """Adds events through one connection, in the caller's transactions.

    It keeps the end of the log in memory, so it must be discarded after a rollback.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read the end of the log."""
        self.connection = connection
        """The connection that it writes to."""
        self.last = read_bounds(connection).last
        """The highest sequence assigned."""
        newest = connection.execute("SELECT latest_receive_time_ms FROM event ORDER BY sequence DESC LIMIT 1")
        self._latest_ms: int = (newest.fetchone() or (0,))[0]

    def append(self, events: Sequence[Event]) -> list[bool]:
        """Add events in order. Returns for each whether it is new: neither in the log nor earlier in ``events``."""
        are_new: list[bool] = []
        for start in range(0, len(events), ROWS_PER_STATEMENT):
            are_new += self._append(events[start : start + ROWS_PER_STATEMENT])
        return are_new

    def _append(self, events: Sequence[Event]) -> list[bool]:
        # One statement for many rows: each statement releases the interpreter lock and waits for it again.
        sequence, latest_ms = self.last, self._latest_ms
        values: list[object] = []
        for event in events:
            sequence += 1
            latest_ms = max(latest_ms, event.receive_time_ms)
            values += (sequence, *event[:8], latest_ms, event.payload, event.state)
        before, self._latest_ms = self.last, latest_ms
        if self.connection.execute(_insert(len(events)), values).rowcount == len(events):
            self.last = sequence
            return [True] * len(events)
        added = {row[0] for row in self.connection.execute("SELECT sequence FROM event WHERE sequence > ?", (before,))}
        self.last = max(added, default=before)
        return [before + index in added for index in range(1, len(events) + 1)]


def read(connection: sqlite3.Connection, after: int, limit: int) -> list[StoredEvent]:
    """Read at most ``limit`` events after a sequence, in order; fewer, but at least one, if they are large."""
    return _read(connection, "sequence > ?", (after,), limit)


def read_subject(
    connection: sqlite3.Connection, after: int, limit: int, identity: tuple[str, int, str]
) -> tuple[list[StoredEvent], int]:
    """Read like `read`, but only the events of one issuer, kind and subject.

    Returns:
        The events, and the sequence up to which they are complete.
    """
    # Before the events: an event stored in between is found, or follows it.
    last = read_bounds(connection).last
    found = _read(connection, _OF_SUBJECT, (*identity, after, limit), limit)
    if len(found) < limit and sum(len(stored.event.payload) for stored in found) < _MAX_READ_BYTES:
        return found, max(after, last)
    return found, found[-1].sequence


def _read(
    connection: sqlite3.Connection, condition: str, values: tuple[str | int, ...], limit: int
) -> list[StoredEvent]:
    rows = connection.execute(
        f"SELECT {_COLUMNS}, {_LAST_COLUMNS} FROM event WHERE {condition} ORDER BY sequence LIMIT ?",  # noqa: S608  constants
        (*values, limit),
    )
    found: list[StoredEvent] = []
    size = 0
    # An open query would hold its snapshot, and with it the write-ahead log.
    with closing(rows):
        for sequence, *fields in rows:
            if None in fields:
                raise sqlite3.DatabaseError("The file is damaged: a required value is missing.")
            event = Event(*fields)
            found.append(StoredEvent(sequence, event))
            size += len(event.payload)
            if size >= _MAX_READ_BYTES:
                break
    return found


def read_bounds(connection: sqlite3.Connection) -> LogBounds:
    """Return the bounds of the log."""
    row = connection.execute(f"SELECT trimmed_through, {_LAST} FROM meta").fetchone()  # noqa: S608  constant
    return LogBounds(*row)


def sequence_before(connection: sqlite3.Connection, receive_time_ms: int) -> int:
    """Return the sequence before the first event received at that time or later; the last one if there is none."""
    # The index leads to the first candidate. Later rows have earlier times only where the clock went back.
    row = connection.execute(
        f"""
        SELECT coalesce((
            SELECT sequence - 1 FROM event
            WHERE receive_time_ms >= ?1 AND sequence >= (
                SELECT sequence FROM event WHERE latest_receive_time_ms >= ?1
                ORDER BY latest_receive_time_ms, sequence LIMIT 1
            )
            ORDER BY sequence LIMIT 1
        ), {_LAST})
        """,  # noqa: S608  constant
        (receive_time_ms,),
    ).fetchone()
    sequence: int = row[0]
    return sequence
