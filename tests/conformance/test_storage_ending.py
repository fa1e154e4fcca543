"""The contract of `gateway.ports.Storage`: closing and failures."""

import asyncio

from tests.conformance.storage_engines import LOG_DOWN, StorageEngine, an_event, failure_reason, uses


async def test_a_storage_that_was_closed_says_so_to_everybody_also_to_who_waits(storage_engine: StorageEngine) -> None:
    async with storage_engine.opened() as storage:
        await storage.log.append(an_event(1))
        waiting = [asyncio.create_task(storage.log.wait_beyond(1)) for _ in range(5)]
        await asyncio.sleep(0.1)

    for each in waiting:
        assert await failure_reason(asyncio.wait_for(each, 10)) == LOG_DOWN
    for reason, use in uses(storage):
        assert await failure_reason(use()) == reason


async def test_closing_twice_or_at_once_is_closing(storage_engine: StorageEngine) -> None:
    async with storage_engine.opened() as storage:
        await asyncio.gather(storage.close(), storage.close())
        await storage.close()

    async with storage_engine.opened():
        pass


async def test_once_the_engine_is_gone_all_calls_fail_and_who_waits_learns_so(breakable_engine: StorageEngine) -> None:
    async with breakable_engine.opened() as storage:
        await storage.log.append(an_event(1))
        waiting = asyncio.create_task(storage.log.wait_beyond(1))
        await asyncio.sleep(0.1)
        await breakable_engine.break_down()

        # The first call writes: only then a file that is taken away is missed.
        for reason, use in uses(storage):
            assert await failure_reason(use()) == reason
        assert await failure_reason(asyncio.wait_for(waiting, 10)) == LOG_DOWN
