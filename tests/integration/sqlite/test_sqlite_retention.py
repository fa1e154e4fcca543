"""What retention removes, and what stays."""

import asyncio
from pathlib import Path

from structlog.testing import capture_logs

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
