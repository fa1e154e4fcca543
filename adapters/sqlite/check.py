"""Finds all damage in the file of an event log."""

import sqlite3
from bisect import bisect_right
from collections.abc import Iterator

from adapters.sqlite import events, subscriptions
from adapters.sqlite.damage import DamagedEventError
from gateway.ports import Damage, LogBounds, ReportProgress

__all__ = ["find_damage"]

_AT_ONCE = 1000
_MAX_PROBLEMS = 100
"""Problems of the structure to list: one flipped bit can cause thousands."""


def find_damage(connection: sqlite3.Connection, report: ReportProgress | None = None) -> Damage:
    """Read everything, and return what is damaged.

    Args:
        connection: The connection. A gateway may use the file meanwhile.
        report: Called with the sequences read, and those to read.

    Raises:
        sqlite3.Error: Not even the schema can be read.
    """
    damaged: list[int] = []
    skipped: list[int] = []
    for error in _damaged_events(connection, events.read_bounds(connection), report):
        if error.sequence <= events.read_bounds(connection).trimmed_through:
            continue  # Retention has removed it meanwhile.
        (skipped if error.is_skipped else damaged).append(error.sequence)
    return Damage(damaged, skipped, [*_structure(connection), *_subscriptions(connection)])


def _structure(connection: sqlite3.Connection) -> Iterator[str]:
    try:
        # Not quick_check, which does not compare the indices with their tables.
        for (problem,) in connection.execute(f"PRAGMA integrity_check({_MAX_PROBLEMS})"):
            if problem != "ok":
                yield f"structure: {problem}"
    except sqlite3.DatabaseError as error:
        yield f"structure: {error}"


def _subscriptions(connection: sqlite3.Connection) -> Iterator[str]:
    try:
        yield from map(str, subscriptions.read(connection).damaged)
    except sqlite3.DatabaseError as error:
        yield f"subscriptions: {error}"


def _damaged_events(
    connection: sqlite3.Connection, bounds: LogBounds, report: ReportProgress | None
) -> Iterator[DamagedEventError]:
    after = bounds.trimmed_through
    indexed: list[int] = []
    while after < bounds.last:
        if report is not None:
            report(after - bounds.trimmed_through, bounds.last - bounds.trimmed_through)
        try:
            found = events.read(connection, after, _AT_ONCE, bounds.last)
            after = found[-1].sequence if found else bounds.last
        except DamagedEventError as error:
            yield error
            after = error.sequence
        except sqlite3.DatabaseError:
            # A page cannot be read. An index knows which events it had.
            indexed = indexed or _indexed(connection, bounds)
            following = indexed[bisect_right(indexed, after)]
            yield events.damaged(connection, following)
            after = following


def _indexed(connection: sqlite3.Connection, bounds: LogBounds) -> list[int]:
    try:
        return sorted({*events.indexed_between(connection, bounds.trimmed_through, bounds.last), bounds.last})
    except sqlite3.DatabaseError:
        return list(range(bounds.trimmed_through + 1, bounds.last + 1))
