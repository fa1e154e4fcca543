"""Pages of the event log for watchers that catch up: only what is sent, checked in bulk.

What `events` checks row by row is checked here over columns, by loops that run in C, and by the checksum that needs the
fewest columns. A page that does not pass is read again by `events`, which finds out what is damaged.
"""

import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import accumulate, compress, pairwise, starmap
from operator import eq, lt, xor
from typing import Any, Final, NamedTuple
from zlib import crc32

from adapters.sqlite import events
from adapters.sqlite.checksums import checksum_seed

__all__ = ["Page", "read_page"]

_ROWS_AT_ONCE: Final = 100
"""Rows that are fetched before the size of all is looked at: the bodies that the edge takes are small."""


class Page(NamedTuple):
    """Events that follow each other."""

    sequences: Sequence[int]
    """The positions of one issuer's events, in order."""
    payloads: Sequence[bytes]
    """Their bytes, as many."""
    through: int
    """The position of the last event, whosever it is; that before the page if it is empty."""


class _Columns(NamedTuple):
    sequences: list[int]
    payloads: list[bytes]
    issuers: list[str]


def read_page(connection: sqlite3.Connection, after: int, limit: int, last: int, issuer_id: str) -> Page:
    """Read the same events as `events.read`, but return only what is sent to a watcher of all of an issuer's.

    Raises:
        DamagedEventError: See `events.read`.
    """
    columns = _read_in_bulk(connection, after, limit, last)
    if columns is None:
        stored = events.read(connection, after, limit, last)
        columns = _Columns(
            [sequence for sequence, _ in stored],
            [event.payload for _, event in stored],
            [event.issuer_id for _, event in stored],
        )
    sequences, payloads, issuers = columns
    through = sequences[-1] if sequences else after
    if issuers.count(issuer_id) == len(issuers):
        return Page(sequences, payloads, through)
    is_wanted = [each == issuer_id for each in issuers]
    return Page(list(compress(sequences, is_wanted)), list(compress(payloads, is_wanted)), through)


def _read_in_bulk(connection: sqlite3.Connection, after: int, limit: int, last: int) -> _Columns | None:
    """Return a page that is what was stored; None if that is not sure."""
    try:
        columns = _read(connection, after, limit)
        if columns is None or events.first_missing(connection, after, columns.sequences, last) is not None:
            return None
    except sqlite3.DatabaseError:
        return None
    return columns


def _read(connection: sqlite3.Connection, after: int, limit: int) -> _Columns | None:
    columns = sequences, payloads, issuers = _Columns([], [], [])
    size = 0
    rows = connection.execute(
        "SELECT sequence, payload, issuer_id, payload_checksum FROM event WHERE sequence > ? ORDER BY sequence LIMIT ?",
        (after, limit),
    )
    # An open query would hold its snapshot, and with it the write-ahead log.
    with closing(rows):
        while size < events.MAX_READ_BYTES and (some := rows.fetchmany(_ROWS_AT_ONCE)):
            found: list[Any] = list(zip(*some, strict=True))
            if not _are_intact(*found):
                return None
            sequences += found[0]
            payloads += found[1]
            issuers += found[2]
            size += sum(map(len, found[1]))
    if sequences and not (after < sequences[0] and all(starmap(lt, pairwise(sequences)))):
        return None
    if size > events.MAX_READ_BYTES:
        end = bisect_left(list(accumulate(map(len, payloads))), events.MAX_READ_BYTES) + 1
        return _Columns(sequences[:end], payloads[:end], issuers[:end])
    return columns


def _are_intact(
    sequences: Iterable[int], payloads: Iterable[bytes], issuers: Sequence[str], checksums: Iterable[int | None]
) -> bool:
    """Compare events with their `payload_checksum`; those of earlier versions have none."""
    try:
        seeds = {issuer_id: checksum_seed(issuer_id) for issuer_id in set(issuers)}
        found = map(crc32, payloads, map(xor, map(seeds.__getitem__, issuers), sequences))
        return all(map(eq, found, checksums))
    except (AttributeError, TypeError):  # A value is not of its column's type.
        return False
