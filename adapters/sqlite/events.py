"""The statements on events. `Appender` writes; each function is one short read."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import cache
from zlib import crc32

from adapters.sqlite.checksums import NUMBERS, checksum, payload_checksum
from adapters.sqlite.damage import DamagedEventError, is_corruption
from gateway.ports import Event, LogBounds, StoredEvent

__all__ = [
    "MAX_READ_BYTES",
    "ROWS_PER_STATEMENT",
    "Appender",
    "damaged",
    "first_missing",
    "indexed_between",
    "read",
    "read_bounds",
    "read_subject",
    "sequence_before",
    "skip",
]

ROWS_PER_STATEMENT = 128
"""Maximum events that one statement adds."""

MAX_READ_BYTES = 1_048_576
"""Size of payloads after which a read ends: readers may hold them for long."""

# The fields of `Event` in their order, in two parts around a column that is not among them.
_COLUMNS = "sequence, issuer_id, kind, subject_id, operation_id, consumer_id, operation_type, status, receive_time_ms"
_LAST_COLUMNS = "payload, state"
_FIELDS = f"{_COLUMNS.removeprefix('sequence, ')}, {_LAST_COLUMNS}"

# The inner query needs the index only. Without it, SQLite would sort the payloads of all of a subject's events.
_OF_SUBJECT = """sequence IN (
    SELECT sequence FROM event WHERE issuer_id = ? AND kind = ? AND subject_id = ? AND sequence > ?
    ORDER BY sequence LIMIT ?
)"""

_LAST = """(SELECT max(
    trimmed_through,
    coalesce((SELECT max(sequence) FROM event), 0),
    coalesce((SELECT sequence FROM event INDEXED BY event_time
        ORDER BY latest_receive_time_ms DESC, sequence DESC LIMIT 1), 0)
) FROM meta)"""
"""The highest sequence ever assigned. Retention records what it removes; the index has what damage has removed."""


_MAX_TIES = 16
"""Events with the same time that the search for missing ones passes; it finds none behind more of them."""


@cache
def _insert(rows: int) -> str:
    # OR ROLLBACK: with any other conflict clause SQLite keeps a statement journal for many rows, which costs more than
    # the insertion itself. A duplicate is no such conflict: ON CONFLICT skips its row.
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return (
        f"INSERT OR ROLLBACK INTO event ({_COLUMNS}, latest_receive_time_ms, {_LAST_COLUMNS}, checksum, "  # noqa: S608  placeholders
        f"payload_checksum) VALUES {values} "
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
            checksums = checksum(sequence, event), payload_checksum(sequence, event)
            values += (sequence, *event[:8], latest_ms, *event[8:], *checksums)
        before, self._latest_ms = self.last, latest_ms
        if self.connection.execute(_insert(len(events)), values).rowcount == len(events):
            self.last = sequence
            return [True] * len(events)
        added = {row[0] for row in self.connection.execute("SELECT sequence FROM event WHERE sequence > ?", (before,))}
        self.last = max(added, default=before)
        return [before + index in added for index in range(1, len(events) + 1)]


def read(connection: sqlite3.Connection, after: int, limit: int, last: int) -> list[StoredEvent]:
    """Read at most ``limit`` events after a sequence, in order; fewer, but at least one, if they are large.

    Args:
        connection: The connection.
        after: The sequence to read after.
        limit: Maximum number of events.
        last: A sequence that the log has reached.

    Raises:
        DamagedEventError: The first one is damaged. Those before a damaged one are returned.
    """
    found, _ = _read(connection, "sequence > ?", (after,), limit, after)
    missing = first_missing(connection, after, [sequence for sequence, _ in found], last)
    if missing is not None:
        found = [stored for stored in found if stored.sequence < missing]
        if not found:
            raise damaged(connection, missing)
    return found


def read_subject(
    connection: sqlite3.Connection, after: int, limit: int, identity: tuple[str, int, str]
) -> tuple[list[StoredEvent], int]:
    """Read like `read`, but only the events of one issuer, kind and subject.

    Returns:
        The events, and the sequence up to which they are complete.
    """
    # Before the events: an event stored in between is found, or follows it.
    last = read_bounds(connection).last
    found, are_all = _read(connection, _OF_SUBJECT, (*identity, after, limit), limit, after)
    return found, max(after, last) if are_all else found[-1].sequence


def skip(connection: sqlite3.Connection, sequence: int) -> None:
    """Record that watchers may pass a damaged event, and that a recovered one is not its duplicate.

    Runs in the caller's transaction. It takes long for a large log whose index differs from the table.
    """
    connection.execute("INSERT OR IGNORE INTO skipped_event (sequence) VALUES (?)", (sequence,))
    if not _forget_identity(connection, sequence):
        # The index has an identity that the table has not.
        with suppress(sqlite3.DatabaseError):
            connection.execute("REINDEX event_identity")
            _forget_identity(connection, sequence)


def _forget_identity(connection: sqlite3.Connection, sequence: int) -> bool:
    """Give an event a state that none has, and return whether that was possible."""
    try:
        changed = connection.execute("UPDATE event SET state = ? WHERE sequence = ?", (f"skipped {sequence}", sequence))
    except sqlite3.DatabaseError:
        return False
    return changed.rowcount == 1


def _read(
    connection: sqlite3.Connection, condition: str, values: tuple[str | int, ...], limit: int, after: int
) -> tuple[list[StoredEvent], bool]:
    """Read events up to the first damaged one.

    Returns:
        The events, and whether there are no others.
    """
    found: list[StoredEvent] = []
    try:
        is_read = _read_into(found, connection, condition, (*values, limit), after)
    except TypeError:  # A value is not of its column's type.
        is_read = False
    except sqlite3.DatabaseError as error:
        # Without a code, a text is not UTF-8. Corruption is for the next read, which begins with it.
        if getattr(error, "sqlite_errorcode", None) is not None and not (found and is_corruption(error)):
            raise
        is_read = False
    if not is_read and not found:
        statement = f"SELECT min(sequence) FROM event WHERE {condition}"  # noqa: S608  constant
        (sequence,) = connection.execute(statement, values).fetchone()
        # None if retention has removed it meanwhile.
        raise damaged(connection, max(after + 1, sequence or 0))
    return found, is_read and len(found) < limit


def _read_into(
    found: list[StoredEvent], connection: sqlite3.Connection, condition: str, values: tuple[str | int, ...], after: int
) -> bool:
    """Add the events to a list, up to a damaged one, or until they are large. Returns whether those are all."""
    size = 0
    new = tuple.__new__  # A named tuple's own takes twice as long.
    rows = connection.execute(
        f"SELECT {_FIELDS}, sequence, checksum, {NUMBERS} FROM event WHERE {condition} ORDER BY sequence LIMIT ?",  # noqa: S608  constants
        values,
    )
    # An open query would hold its snapshot, and with it the write-ahead log.
    with closing(rows):
        for (
            issuer,
            kind,
            subject,
            operation,
            consumer,
            type_,
            status,
            time_ms,
            payload,
            state,
            sequence,
            check,
            numbers,
        ) in rows:
            # As in `checksum_of_row`, whose call would cost as much as all of it.
            texts = f"{issuer}{subject}{operation}{consumer}{state}".encode()
            if crc32(payload, crc32(texts, numbers)) != check or sequence <= after:
                return False
            fields = (issuer, kind, subject, operation, consumer, type_, status, time_ms, payload, state)
            found.append(new(StoredEvent, (sequence, new(Event, fields))))
            after = sequence
            size += len(payload)
            if size >= MAX_READ_BYTES:
                return False
    return True


def damaged(connection: sqlite3.Connection, sequence: int) -> DamagedEventError:
    """Return the error about an event."""
    row = connection.execute("SELECT 1 FROM skipped_event WHERE sequence = ?", (sequence,)).fetchone()
    return DamagedEventError(sequence, is_skipped=row is not None)


def first_missing(connection: sqlite3.Connection, after: int, found: Sequence[int], last: int) -> int | None:
    """Return the first event that an index has and the table has not; None if the read is complete."""
    if not found:
        if last <= after or last <= read_bounds(connection).trimmed_through:
            return None
        return min(indexed_between(connection, after, last), default=last)
    through = found[-1]
    (indexed,) = connection.execute(
        """
        SELECT count(*) FROM (
            SELECT sequence FROM event INDEXED BY event_time
            WHERE latest_receive_time_ms <= (SELECT latest_receive_time_ms FROM event WHERE sequence = ?1)
            ORDER BY latest_receive_time_ms DESC, sequence DESC LIMIT ?2
        ) WHERE sequence > ?3 AND sequence <= ?1
        """,
        (through, len(found) + _MAX_TIES, after),
    ).fetchone()
    if indexed <= len(found):
        return None
    return min(indexed_between(connection, after, through).difference(found), default=None)


def indexed_between(connection: sqlite3.Connection, after: int, through: int) -> set[int]:
    """Return the sequences after one through another, as an index has them. Reads all of the index."""
    rows = connection.execute(
        "SELECT sequence FROM event INDEXED BY event_time WHERE sequence > ? AND sequence <= ?", (after, through)
    )
    return {row[0] for row in rows.fetchall()}


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
