"""Messages that others remove from the stream, or add to it, are never skipped silently."""

from adapters.nats.jetstream.jetstream import api_request
from sandbox.nats import NatsServer
from tests.conformance.storage_engines import an_event, append_all, read_all
from tests.integration.nats.nats_storages import opened, settings_for_nats, unavailable


async def test_a_reader_that_missed_purged_events_learns_so(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        log, names = storage.log, storage.names
        for number in range(1, 11):
            await log.append(an_event(number))
        for number in (5, 6):
            await api_request(
                storage.connection, f"STREAM.PURGE.{names.event_stream}", {"filter": names.event(an_event(number))}
            )

        before = await log.read(0, 100)
        assert [stored.sequence for stored in before.events] == [1, 2, 3, 4]
        assert before.bounds.trimmed_through == 0

        beyond = await log.read(4, 100)
        assert beyond.bounds.trimmed_through == 6
        assert [stored.sequence for stored in await read_all(log, 6)] == [7, 8, 9, 10]


async def test_a_reader_at_the_end_when_all_was_purged_reads_on(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        log = storage.log
        await append_all(log, [an_event(number) for number in range(5)])
        await api_request(storage.connection, f"STREAM.PURGE.{storage.names.event_stream}")

        assert (await log.read(2, 10)).bounds.trimmed_through == 5
        assert await log.append(an_event(9))
        assert [stored.sequence for stored in (await log.read(5, 10)).events] == [6]


async def test_the_last_event_may_be_purged(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        log, names = storage.log, storage.names
        for number in (1, 2, 3):
            await log.append(an_event(number))
        await api_request(
            storage.connection, f"STREAM.PURGE.{names.event_stream}", {"filter": names.event(an_event(3))}
        )

        assert (await log.read(2, 10)).bounds.trimmed_through == 3
        assert await log.append(an_event(4))
        assert [stored.sequence for stored in (await log.read(3, 10)).events] == [4]


async def test_what_is_no_event_is_an_error_and_not_passed_over(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        await storage.log.append(an_event(1))
        await storage.connection.request(f"{storage.names.events}.ISSUER0001.1.card-1.foreign", b"not an event")

        with unavailable():
            await storage.log.read(0, 10)
