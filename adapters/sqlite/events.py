"""The statements on events. Each function is one short read; `Appender` is the one way in."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import cache

from gateway.ports import Event, LogBounds, StoredEvent

__all__ = ["ROWS_PER_STATEMENT", "Appender", "read", "read_bounds", "read_subject", "sequence_before"]

ROWS_PER_STATEMENT = 128
"""How many events one statement adds at most."""

_READ_BYTES = 1_048_576
"""How many bytes of payloads one read takes, but for its last event: a reader may hold them for long."""

_COLUMNS = "sequence, issuer_id, kind, subject_id, operation_id, consumer_id, operation_type, status, receive_time_ms"

# The index alone tells the sequences: without it, the payloads of all of a subject's events would be sorted.
_OF_SUBJECT = """sequence IN (
    SELECT sequence FROM event WHERE issuer_id = ? AND kind = ? AND subject_id = ? AND sequence > ?
    ORDER BY sequence LIMIT ?
)"""

_LAST = "(SELECT max(trimmed_through, coalesce((SELECT max(sequence) FROM event), 0)) FROM meta)"
"""The highest sequence ever given out: retention notes what it removes."""


@cache
def _insert(rows: int) -> str:
    # OR ROLLBACK, because with any other answer to a broken constraint SQLite keeps a journal of each statement of many
    # rows, which costs more than the insertion itself. A conflict of identities is none: that row is passed over.
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return (
        f"INSERT OR ROLLBACK INTO event ({_COLUMNS}, latest_receive_time_ms, payload) VALUES {values} "  # noqa: S608  only marks
        "ON CONFLICT (issuer_id, kind, subject_id, operation_id) DO NOTHING"
    )


class Appender:
    """Adds events through one connection, in the caller's transactions.

    It knows the end of the log from memory, so it is of no use any more once a transaction was rolled back.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Look up the end of the log."""
        self.connection = connection
        """The connection it writes on."""
        self.last = read_bounds(connection).last
        """The highest sequence given out."""
        newest = connection.execute("SELECT latest_receive_time_ms FROM event ORDER BY sequence DESC LIMIT 1")
        self._latest_ms: int = (newest.fetchone() or (0,))[0]

    def append(self, events: Sequence[Event]) -> list[bool]:
        """Add events in order. Tells of each whether it is new, or a duplicate of one in the log or before it here."""
        news: list[bool] = []
        for start in range(0, len(events), ROWS_PER_STATEMENT):
            news += self._append(events[start : start + ROWS_PER_STATEMENT])
        return news

    def _append(self, events: Sequence[Event]) -> list[bool]:
        # One statement for many rows: each statement gives up the interpreter's lock and has to wait for it again.
        sequence, latest_ms = self.last, self._latest_ms
        values: list[object] = []
        for event in events:
            sequence += 1
            time_ms = event.receive_time_ms
            latest_ms = max(latest_ms, time_ms)
            values += (
                sequence,
                event.issuer_id,
                event.kind,
                event.subject_id,
                event.operation_id,
                event.consumer_id,
                event.operation_type,
                event.status,
                time_ms,
                latest_ms,
                event.payload,
            )
        before, self._latest_ms = self.last, latest_ms
        if self.connection.execute(_insert(len(events)), values).rowcount == len(events):
            self.last = sequence
            return [True] * len(events)
        added = {row[0] for row in self.connection.execute("SELECT sequence FROM event WHERE sequence > ?", (before,))}
        self.last = max(added, default=before)
        return [before + place in added for place in range(1, len(events) + 1)]


def read(connection: sqlite3.Connection, after: int, limit: int) -> list[StoredEvent]:
    """Read at most ``limit`` events after a sequence, in order; fewer, but at least one, where they are large."""
    return _read(connection, "sequence > ?", (after,), limit)


def read_subject(
    connection: sqlite3.Connection, after: int, limit: int, identity: tuple[str, int, str]
) -> tuple[list[StoredEvent], int]:
    """Read as `read`, but only the events of one issuer, kind and subject.

    Returns:
        The events, and the sequence up to which none of them was left out.
    """
    # Before the events: one that is stored in between is found, or is after it.
    last = read_bounds(connection).last
    found = _read(connection, _OF_SUBJECT, (*identity, after, limit), limit)
    if len(found) < limit and sum(len(stored.event.payload) for stored in found) < _READ_BYTES:
        return found, max(after, last)
    return found, found[-1].sequence


def _read(
    connection: sqlite3.Connection, condition: str, values: tuple[str | int, ...], limit: int
) -> list[StoredEvent]:
    rows = connection.execute(
        f"SELECT {_COLUMNS}, payload FROM event WHERE {condition} ORDER BY sequence LIMIT ?",  # noqa: S608  constants
        (*values, limit),
    )
    found: list[StoredEvent] = []
    size = 0
    # Closed: a query left open would hold its snapshot, and with it the write-ahead log.
    with closing(rows):
        for sequence, *fields in rows:
            if None in fields:
                raise sqlite3.DatabaseError("The file is damaged: a value is missing that never is.")
            event = Event(*fields)
            found.append(StoredEvent(sequence, event))
            size += len(event.payload)
            if size >= _READ_BYTES:
                break
    return found


def read_bounds(connection: sqlite3.Connection) -> LogBounds:
    """Tell what the log holds."""
    row = connection.execute(f"SELECT trimmed_through, {_LAST} FROM meta").fetchone()  # noqa: S608  constant
    return LogBounds(*row)


def sequence_before(connection: sqlite3.Connection, receive_time_ms: int) -> int:
    """Tell the sequence just before the first event taken at that time or later; the last sequence if there is none."""
    # The index leads to the first row that can be it. Rows before it in time follow only where the clock went back.
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
