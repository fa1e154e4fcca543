"""An event that arrives twice is stored once, even if the first response was lost."""

import asyncio

from sandbox.nats import NatsServer
from tests.conformance.storage_engines import an_event, read_all
from tests.integration.nats.nats_storages import opened, settings_for_nats, unavailable


async def test_a_duplicate_is_known_long_after_jetstream_itself_would_have_forgotten_it(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        await storage.log.append(an_event(1))
        # The stream's own window for message ids is a second.
        await asyncio.sleep(1.5)

        assert not await storage.log.append(an_event(1))


async def test_an_event_whose_acknowledgement_was_lost_is_a_duplicate_when_it_comes_again(server: NatsServer) -> None:
    async with opened(settings_for_nats(server, timeout_seconds=0.5)) as storage:
        server.pause()
        with unavailable():
            await storage.log.append(an_event(1))
        server.resume()

        # It was on its way all the time.
        async with asyncio.timeout(10):
            await storage.log.wait_beyond(0)
        assert not await storage.log.append(an_event(1))
        assert [stored.event for stored in await read_all(storage.log)] == [an_event(1)]


async def test_an_event_whose_sender_left_is_a_duplicate_when_it_comes_again(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        server.pause()
        leaving = asyncio.create_task(storage.log.append(an_event(1)))
        await asyncio.sleep(0.05)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        server.resume()

        assert not await storage.log.append(an_event(1))


async def test_the_same_event_at_two_gateways_at_once_is_stored_once(server: NatsServer) -> None:
    settings = settings_for_nats(server)
    async with opened(settings) as one, opened(settings) as other:
        for number in range(50):
            event = an_event(number)
            assert sorted(await asyncio.gather(one.log.append(event), other.log.append(event))) == [False, True]

        assert (await one.log.bounds()).last == 50
