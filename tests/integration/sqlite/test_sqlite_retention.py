"""What retention removes, what stays, and what reads beside it do beyond the contract."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from structlog.testing import capture_logs

from adapters.sqlite import SqliteEventLog, events
from gateway.ports import LogBounds
from gateway.settings import EventLogSettings
from tests.integration.sqlite.sqlite_events import append_all, event, locked, numbers, opened, unavailable

MEBIBYTE = 1_048_576


async def test_the_oldest_events_are_removed_when_the_log_is_too_large(path: Path) -> None:
    async with opened(path, retention=EventLogSettings(retention_bytes=MEBIBYTE)) as log:
        await append_all(log, [event(number, payload=bytes(1_000)) for number in range(2_000)])

        removed = await log.trim()

        kept = await numbers(log)
        assert kept == list(range(removed, 2_000))
        assert 0.6 * MEBIBYTE < len(kept) * 1_000 < MEBIBYTE
        assert (await log.bounds()).trimmed_through == removed


async def test_the_space_of_removed_events_is_used_again(path: Path) -> None:
    async with opened(path, retention=EventLogSettings(retention_bytes=MEBIBYTE)) as log:
        for start in range(0, 6_000, 500):
            await append_all(log, [event(number, payload=bytes(1_000)) for number in range(start, start + 500)])
            await log.trim()

    assert path.stat().st_size < 2.5 * MEBIBYTE  # noqa: ASYNC240  at once


async def test_without_limits_nothing_is_removed(path: Path) -> None:
    async with opened(path, now_ms=lambda: 10**15) as log:
        await append_all(log, [event(number) for number in range(100)])

        assert await log.trim() == 0
        assert len(await numbers(log)) == 100


async def test_the_log_trims_itself_regularly_also_after_a_failure(path: Path) -> None:
    retention = EventLogSettings(retention_seconds=10)
    async with opened(path, retention=retention, trim_interval_seconds=0.02, now_ms=lambda: 15_000) as log:
        with locked(path), capture_logs() as logged:
            async with asyncio.timeout(20):
                while not any(line["event"] == "event_log_not_trimmed" for line in logged):  # noqa: ASYNC110  as below
                    await asyncio.sleep(0.02)
        await append_all(log, [event(number, time_ms=number * 1_000) for number in range(10)])
        async with asyncio.timeout(10):
            while await numbers(log) != [5, 6, 7, 8, 9]:  # noqa: ASYNC110  nothing tells of a trim
                await asyncio.sleep(0.02)

        assert (await log.bounds()).trimmed_through == 5


async def test_appends_are_stored_while_a_long_trim_goes_on(path: Path) -> None:
    async with opened(path, retention=EventLogSettings(retention_seconds=10), now_ms=lambda: 100_000) as log:
        await append_all(log, [event(number) for number in range(5_000)])
        trim = asyncio.ensure_future(log.trim())

        for number in range(5_000, 5_005):
            assert await log.append(event(number, time_ms=100_000))

        assert not trim.done()
        assert await trim == 5_000
        assert await numbers(log) == [5_000, 5_001, 5_002, 5_003, 5_004]


async def test_a_trim_that_the_storage_fails_says_so_and_removes_nothing(path: Path) -> None:
    async with opened(path, retention=EventLogSettings(retention_seconds=10), now_ms=lambda: 100_000) as log:
        await log.append(event(1))
        with locked(path), unavailable():
            await log.trim()

        assert await numbers(log) == [1]
        assert await log.trim() == 1


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
            assert events.read(connection, time_ms, 1, 5_000)[0].sequence == time_ms + 1

    # SQLite's own steps, ten times three statements: a look at each event would take thousands for each.
    assert 0 < steps < 10 * 600
