"""NATS goes away and comes back."""

import asyncio

from adapters.nats import NatsStorage
from sandbox.nats import NatsServer
from tests.conformance.storage_engines import an_event, read_all, uses
from tests.integration.nats.nats_storages import (
    STORE_DOWN,
    opened,
    recovered,
    seconds_of,
    settings_for_nats,
    unavailable,
)

_AT_ONCE_SECONDS = 1.0


async def disconnected(storage: NatsStorage) -> None:
    async with asyncio.timeout(10):
        while storage.connection.is_connected:  # noqa: ASYNC110  what the storage tells is for its parts
            await asyncio.sleep(0.01)


async def test_while_there_is_no_connection_everything_fails_at_once(server: NatsServer) -> None:
    async with opened(settings_for_nats(server, timeout_seconds=20)) as storage:
        await server.kill()
        await disconnected(storage)

        async def all_fail() -> None:
            for reason, use in uses(storage):
                with unavailable(reason):
                    await use()

        assert await seconds_of(all_fail()) < _AT_ONCE_SECONDS


async def test_what_is_on_its_way_when_the_connection_is_lost_fails_then(server: NatsServer) -> None:
    async with opened(settings_for_nats(server, timeout_seconds=30)) as storage:
        server.pause()
        pending = [asyncio.create_task(use()) for _, use in uses(storage)]
        await asyncio.sleep(0.1)

        await server.kill()

        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*pending, return_exceptions=True)
        assert [getattr(outcome, "reason", outcome) for outcome in outcomes] == [reason for reason, _ in uses(storage)]


async def test_all_works_again_within_five_seconds_of_the_servers_return(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        await storage.log.append(an_event(1))
        await storage.key_value_store.put("key", b"value", 60)
        await server.kill()
        await disconnected(storage)
        await asyncio.sleep(2)

        await server.restart()
        await recovered(storage, within_seconds=5)

        assert not await storage.log.append(an_event(1))
        assert await storage.log.append(an_event(2))
        assert await storage.key_value_store.get("key") == b"value"
        assert [stored.sequence for stored in await read_all(storage.log)] == [1, 2]


async def test_waiting_calls_fail_at_the_loss_and_later_ones_learn_what_came_meanwhile(server: NatsServer) -> None:
    settings = settings_for_nats(server)
    async with opened(settings) as storage:
        waiting = asyncio.create_task(storage.log.wait_beyond(0))
        await asyncio.sleep(0.1)
        await server.kill()
        with unavailable():
            await asyncio.wait_for(waiting, 10)

        await server.restart()
        async with opened(settings) as other:
            await other.log.append(an_event(1))
        await recovered(storage, within_seconds=5)

        async with asyncio.timeout(10):
            await storage.log.wait_beyond(0)
            later = asyncio.create_task(storage.log.wait_beyond(1))
            await asyncio.sleep(0.1)
            await storage.log.append(an_event(2))
            await later


async def test_a_server_that_hangs_costs_a_request_its_time_and_then_the_connection(server: NatsServer) -> None:
    async with opened(settings_for_nats(server, timeout_seconds=0.5)) as storage:
        server.pause()

        with unavailable():
            await asyncio.wait_for(storage.log.append(an_event(1)), 5)
        with unavailable(STORE_DOWN):
            await asyncio.wait_for(storage.key_value_store.get("key"), 5)
        await disconnected(storage)

        server.resume()
        await recovered(storage, within_seconds=5)


async def test_a_storage_is_closed_at_once_while_nats_is_gone(server: NatsServer) -> None:
    for pause_seconds in (0.0, 0.1, 0.7):
        storage = await NatsStorage.open(settings_for_nats(server))
        await server.kill()
        await asyncio.sleep(pause_seconds)

        assert await seconds_of(asyncio.wait_for(storage.close(), 10)) < 3
        await server.restart()


async def test_nothing_that_failed_is_sent_later(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        await server.kill()
        await disconnected(storage)
        for number in range(10):
            with unavailable():
                await storage.log.append(an_event(number))

        await server.restart()
        await recovered(storage, within_seconds=5)

        await asyncio.sleep(0.2)
        assert (await storage.log.bounds()).last == 0
