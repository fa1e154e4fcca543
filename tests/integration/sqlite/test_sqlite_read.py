"""Reading events, and waiting for more."""

import asyncio
import time
from pathlib import Path

import pytest

from adapters.sqlite import SqliteEventLog
from gateway.ports import LogBounds
from gateway.settings import EventLogSettings
from tests.integration.sqlite.sqlite_events import append_all, event, locked, numbers, opened, unavailable


async def test_a_new_log_is_empty(log: SqliteEventLog) -> None:
    assert list((await log.read(0, 10)).events) == []
    assert await log.bounds() == LogBounds(trimmed_through=0, last=0)
    assert await log.sequence_before(0) == 0


async def test_a_read_begins_after_the_sequence_and_ends_at_the_limit(log: SqliteEventLog) -> None:
    await append_all(log, [event(number) for number in range(10)])

    assert [stored.sequence for stored in (await log.read(3, 4)).events] == [4, 5, 6, 7]
    assert [stored.sequence for stored in (await log.read(8, 4)).events] == [9, 10]
    assert list((await log.read(10, 4)).events) == []


async def test_of_large_events_a_read_takes_few_and_the_next_one_goes_on(log: SqliteEventLog) -> None:
    await append_all(log, [event(number, payload=bytes(400_000)) for number in range(5)])
    await log.append(event(5, payload=bytes(2_000_000)))

    assert [stored.sequence for stored in (await log.read(0, 1000)).events] == [1, 2, 3]
    assert [stored.sequence for stored in (await log.read(3, 1000)).events] == [4, 5, 6]
    assert [stored.sequence for stored in (await log.read(5, 1000)).events] == [6]


async def test_reads_go_on_while_another_program_blocks_the_writer(log: SqliteEventLog, path: Path) -> None:
    await log.append(event(1))
    with locked(path):
        append = asyncio.ensure_future(log.append(event(2)))
        async with asyncio.timeout(0.4):
            assert await numbers(log) == [1]
            assert await log.bounds() == LogBounds(trimmed_through=0, last=1)
        assert not append.done()
    assert await append


async def test_reads_beside_writes_see_every_event_once_and_in_order(log: SqliteEventLog) -> None:
    async def follow() -> list[int]:
        seen: list[int] = []
        while len(seen) < 1_000:
            await log.wait_beyond(seen[-1] if seen else 0)
            seen += [stored.sequence for stored in (await log.read(seen[-1] if seen else 0, 50)).events]
        return seen

    followers = asyncio.gather(*(follow() for _ in range(5)))
    for start in range(0, 1_000, 20):
        await append_all(log, [event(number) for number in range(start, start + 20)])

    async with asyncio.timeout(20):
        for seen in await followers:
            assert seen == list(range(1, 1_001))


async def test_an_event_can_be_read_as_soon_as_its_append_returns(log: SqliteEventLog) -> None:
    for number in range(50):
        await log.append(event(number))
        assert [stored.sequence for stored in (await log.read(number, 10)).events] == [number + 1]


async def test_a_thousand_waiters_wake_for_one_event(log: SqliteEventLog) -> None:
    waiters = [asyncio.ensure_future(log.wait_beyond(0)) for _ in range(1_000)]
    await asyncio.sleep(0)
    assert not any(waiter.done() for waiter in waiters)

    await log.append(event(1))

    async with asyncio.timeout(5):
        await asyncio.gather(*waiters)


async def test_a_waiter_sleeps_until_its_sequence_is_passed(log: SqliteEventLog) -> None:
    await log.append(event(1))
    await log.wait_beyond(0)

    waiter = asyncio.ensure_future(log.wait_beyond(2))
    assert await log.append(event(2))
    assert not await log.append(event(2))
    await log.commit("issuer0001", "watcher", 1, 1)
    assert not waiter.done()
    assert await log.append(event(3))
    async with asyncio.timeout(5):
        await waiter


async def test_a_waiter_that_gives_up_leaves_the_others_waiting(log: SqliteEventLog) -> None:
    waiters = [asyncio.ensure_future(log.wait_beyond(0)) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiters[1]
    assert not waiters[0].done()

    await log.append(event(1))

    async with asyncio.timeout(5):
        await asyncio.gather(waiters[0], waiters[2])


async def test_the_end_of_the_log_is_known_after_a_restart(path: Path) -> None:
    async with opened(path) as log:
        assert await append_all(log, [event(1), event(2), event(2), event(1)]) == [True, True, False, False]

    async with opened(path) as log:
        assert await log.bounds() == LogBounds(trimmed_through=0, last=2)
        async with asyncio.timeout(5):
            await log.wait_beyond(1)
        waiter = asyncio.ensure_future(log.wait_beyond(2))
        await asyncio.sleep(0)
        assert not waiter.done()
        waiter.cancel()


async def test_waiters_are_let_go_when_the_log_closes(path: Path) -> None:
    async with opened(path) as log:
        waiter = asyncio.ensure_future(log.wait_beyond(0))
        await asyncio.sleep(0)
    with unavailable():
        await waiter


@pytest.mark.parametrize(
    ("receive_time_ms", "sequence"),
    [
        pytest.param(0, 0, id="before all"),
        pytest.param(100, 0, id="the first time"),
        pytest.param(101, 1, id="in a gap between times"),
        pytest.param(200, 1, id="the first of equal times"),
        pytest.param(201, 3, id="after equal times"),
        pytest.param(300, 3, id="a time that falls before an earlier one"),
        pytest.param(350, 3, id="a time only taken before the clock went back"),
        pytest.param(400, 3, id="the time before the clock went back"),
        pytest.param(401, 5, id="after the clock went back"),
        pytest.param(501, 6, id="after all"),
    ],
)
async def test_the_place_of_a_time_is_before_the_first_event_taken_then_or_later(
    log: SqliteEventLog, receive_time_ms: int, sequence: int
) -> None:
    for number, time_ms in enumerate((100, 200, 200, 400, 300, 500)):
        await log.append(event(number, time_ms=time_ms))

    assert await log.sequence_before(receive_time_ms) == sequence


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


async def test_finding_a_time_and_reading_there_is_fast_in_a_long_log(log: SqliteEventLog) -> None:
    await append_all(log, [event(number, time_ms=number) for number in range(10_000)])

    begin = time.perf_counter()
    for time_ms in range(0, 10_000, 100):
        assert await log.sequence_before(time_ms) == time_ms
        assert (await log.read(time_ms, 1)).events[0].sequence == time_ms + 1
    assert time.perf_counter() - begin < 2.0
