"""What reads do beyond the contract: large events, a blocked writer, times before retention, and their cost."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from adapters.sqlite import SqliteEventLog, events
from gateway.ports import LogBounds
from gateway.settings import EventLogSettings
from tests.integration.sqlite.sqlite_events import append_all, event, locked, numbers, opened


async def test_of_large_events_a_read_takes_few_and_the_next_one_goes_on(log: SqliteEventLog) -> None:
    await append_all(log, [event(number, payload=bytes(400_000)) for number in range(5)])
    await log.append(event(5, payload=bytes(2_000_000)))

    assert [stored.sequence for stored in (await log.read(0, 1000)).events] == [1, 2, 3]
    assert [stored.sequence for stored in (await log.read(3, 1000)).events] == [4, 5, 6]
    assert [stored.sequence for stored in (await log.read(5, 1000)).events] == [6]


async def test_reads_go_on_while_another_program_blocks_the_writer(log: SqliteEventLog, path: Path) -> None:
    await log.append(event(1))

    async def read_first() -> bool:
        with locked(path):
            append = asyncio.ensure_future(log.append(event(2)))
            assert await numbers(log) == [1]
            assert await log.bounds() == LogBounds(trimmed_through=0, last=1)
            is_first = not append.done()
            await asyncio.wait([append])
        assert append.exception() is not None
        return is_first

    # A busy machine may hold up a read until the append is given up.
    assert any([await read_first() for _ in range(3)])


async def test_the_place_of_a_time_does_not_depend_on_events_that_are_gone(path: Path) -> None:
    """The clock went back by an hour, and what was stored before that is trimmed."""
    now_ms = 3_600_000
    async with opened(path, retention=EventLogSettings(retention_seconds=1_000), now_ms=lambda: now_ms) as log:
        for number, time_ms in enumerate((0, 2_700_000, 2_650_000, 2_660_000, 2_800_000)):
            await log.append(event(number, time_ms=time_ms))
        assert await log.trim() == 1
        now_ms = 3_705_000  # Keeps what was taken at 2 705 000 or later.
        assert await log.sequence_before(2_655_000) == 1
        await log.trim()

        assert await numbers(log) == [4]
        assert await log.sequence_before(2_655_000) == 4
        assert await log.sequence_before(2_900_000) == 5


async def test_finding_a_time_and_reading_there_costs_little_in_a_long_log(log: SqliteEventLog, path: Path) -> None:
    await append_all(log, [event(number, time_ms=number) for number in range(5_000)])
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with closing(sqlite3.connect(path)) as connection:
        connection.set_progress_handler(count, 1)
        for time_ms in range(0, 5_000, 500):
            assert events.sequence_before(connection, time_ms) == time_ms
            assert events.read(connection, time_ms, 1)[0].sequence == time_ms + 1

    # SQLite's own steps, ten times two statements: a look at each event would take thousands for each.
    assert 0 < steps < 10 * 200
