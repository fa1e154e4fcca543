"""The contract of `gateway.ports.EventLog`: retention."""

import asyncio

from gateway.ports import EventLog, LogBounds, Storage
from gateway.settings import EventLogSettings
from tests.conformance.storage_engines import StorageEngine, an_event, append_all, read_all

KIBIBYTE = 1024
BRIEF = EventLogSettings(retention_seconds=1, retention_bytes=64 * 1024 * KIBIBYTE)
SMALL = EventLogSettings(retention_seconds=5e9, retention_bytes=1024 * KIBIBYTE)
"""Without a limit of age, as the events here are old."""


async def until_trimmed_through(log: EventLog, sequence: int) -> LogBounds:
    async with asyncio.timeout(30):
        while (bounds := await log.bounds()).trimmed_through < sequence:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.05)
    return bounds


async def test_what_is_too_old_goes_and_the_log_goes_on_counting(storage_engine: StorageEngine) -> None:
    now_ms = 4_000_000_000_000
    async with storage_engine.opened(retention=BRIEF) as storage:
        log = storage.log
        await append_all(log, [an_event(number) for number in range(5)])

        assert await until_trimmed_through(log, 5) == LogBounds(trimmed_through=5, last=5)
        assert (await log.read(0, 10)).bounds == LogBounds(trimmed_through=5, last=5)

        assert await log.append(an_event(0, time_ms=now_ms))  # What is gone is forgotten.
        assert (await log.bounds()).last == 6
        assert await log.sequence_before(now_ms) == 5
        assert max(5, await log.sequence_before(1)) == 5


async def test_what_is_too_much_goes_oldest_first_and_a_reader_can_tell(storage_engine: StorageEngine) -> None:
    async with storage_engine.opened(retention=SMALL) as storage:
        log = storage.log
        last = 0
        async with asyncio.timeout(40):
            while (await log.bounds()).trimmed_through < 10:
                await log.append(an_event(last, payload=bytes(4 * KIBIBYTE)))
                last += 1
                if last % 10 == 0:
                    await asyncio.sleep(0.1)

        read = await log.read(0, 1000)

        assert read.bounds.trimmed_through >= 10
        assert read.bounds.last == last
        first = read.events[0].sequence
        assert 10 < first <= read.bounds.trimmed_through + 1
        assert [stored.sequence for stored in await read_all(log, read.bounds.trimmed_through)][-1] == last


async def test_a_reader_that_lags_always_learns_that_events_were_trimmed(storage_engine: StorageEngine) -> None:
    async with storage_engine.opened(retention=SMALL) as storage:
        log = storage.log
        is_done = asyncio.Event()

        async def write() -> None:
            for number in range(800):
                await log.append(an_event(number, payload=bytes(4 * KIBIBYTE)))
                if number % 50 == 0:
                    await asyncio.sleep(0.1)
            is_done.set()

        async def lag() -> int:
            after = overtaken = 0
            while not is_done.is_set():
                read = await log.read(after, 3)
                if after < read.bounds.trimmed_through:
                    overtaken += 1
                    after = read.bounds.trimmed_through
                    continue
                sequences = [stored.sequence for stored in read.events]
                assert sequences == list(range(after + 1, after + 1 + len(sequences)))
                after = read.through
                await asyncio.sleep(0.1)
            return overtaken

        async with asyncio.timeout(50):
            overtaken, _ = await asyncio.gather(lag(), write())

        assert overtaken > 0


async def test_a_log_that_was_opened_again_knows_what_was_trimmed(storage_engine: StorageEngine) -> None:
    async with storage_engine.opened(retention=BRIEF) as storage:
        await append_all(storage.log, [an_event(number) for number in range(5)])
        await until_trimmed_through(storage.log, 5)

    async with storage_engine.opened() as storage:
        assert await storage.log.bounds() == LogBounds(trimmed_through=5, last=5)
        assert await storage.log.append(an_event(9))
        assert [stored.sequence for stored in await read_all(storage.log, 5)] == [6]


async def test_what_an_operator_trims_is_gone_and_the_log_goes_on_counting(storage: Storage) -> None:
    log = storage.log
    await append_all(log, [an_event(number) for number in range(10)])
    stored = await read_all(log)

    await storage.trim_through(4)
    await storage.trim_through(4)

    assert await log.bounds() == LogBounds(trimmed_through=4, last=10)
    assert await read_all(log, 4) == stored[4:]
    await storage.trim_through(10)
    assert await log.bounds() == LogBounds(trimmed_through=10, last=10)
    assert await log.append(an_event(0))  # What is gone is forgotten.
    assert (await log.bounds()).last == 11
