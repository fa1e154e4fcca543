"""The event log on one server: duplicates are stored once, order holds, and gaps are never skipped silently."""

import asyncio
import base64

import pytest
from structlog.testing import capture_logs

from adapters.nats.event_log.envelope import headers_of, pack, unpack
from adapters.nats.jetstream.jetstream import EXPECTED_LAST, api_request
from gateway.errors import GatewayError
from gateway.ports import Damage, Event, EventDamagedError, Scope, StoredEvent
from sandbox.nats import NatsServer
from tests.conformance.storage_engines import ISSUER, an_event, read_all
from tests.integration.nats.nats_storages import opened, settings_for_nats, unavailable
from tests.integration.nats.ordered_events import held, ordered_events, reached, store


async def test_a_duplicate_is_known_long_after_jetstream_itself_would_have_forgotten_it(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        await storage.log.append(an_event(1))
        # The stream's own window for message ids is a second.
        await asyncio.sleep(1.5)

        assert not await storage.log.append(an_event(1))


async def test_gateways_of_the_version_before_take_part_in_a_log_with_later_states(server: NatsServer) -> None:
    unknown = an_event(2)._replace(operation_type=0, state="CANCELLED")
    async with opened(settings_for_nats(server)) as storage:
        log, names, connection = storage.log, storage.names, storage.connection

        async def append_as_before(event: Event) -> None:
            # That version wrote no state, and stored the first event of a subject alone.
            await connection.request(names.event(event), pack(event), headers={EXPECTED_LAST: "0"})

        await append_as_before(an_event(1))
        await append_as_before(an_event(2)._replace(operation_type=0))
        assert not await log.append(an_event(1))
        assert await log.append(an_event(1)._replace(status=3))
        assert await log.append(unknown)
        await append_as_before(an_event(3))

        stored = await read_all(log)
        assert [each.event.operation_id for each in stored] == [f"operation-{number}" for number in (1, 2, 1, 2, 3)]
        for each in stored:
            # It recognises the log's content by the subject that it derives from the event.
            found = await api_request(connection, f"STREAM.MSG.GET.{names.event_stream}", {"seq": each.sequence})
            content = base64.b64decode(found["message"]["data"])
            assert found["message"]["subject"] == names.event(unpack(content, {}))
            assert unpack(content, {}) == each.event._replace(state="")


@pytest.mark.parametrize("scope", [None, Scope(ISSUER, 1, "card-1")])
async def test_what_was_altered_or_is_no_event_is_not_served_and_stops_nothing_else(
    server: NatsServer, scope: Scope | None
) -> None:
    settings = settings_for_nats(server)
    async with opened(settings) as storage, opened(settings) as peer:
        log, names = storage.log, storage.names
        for number in (1, 2):
            await log.append(an_event(number))
        altered, foreign = an_event(3), an_event(4)
        content = pack(altered)
        headers = headers_of(altered, content)
        await storage.connection.request(names.event(altered), content[:-1] + b"?", headers=headers)
        await storage.connection.request(names.event(foreign), b"{}")
        assert await log.append(an_event(5))
        assert await peer.log.append(altered), "what D1 repeats is stored again"

        found: list[StoredEvent] = []
        damaged, after = [], 0
        with capture_logs() as logged:
            while after < 6:
                try:
                    read = await log.read(after, 10, scope)
                    found += read.events
                    after = read.events[-1].sequence
                except EventDamagedError as error:
                    damaged.append((error.sequence, error.is_skipped))
                    after = error.sequence

        assert [stored.event for stored in found] == [an_event(1), an_event(2), an_event(5), altered]
        assert damaged == [(3, False), (4, False)]
        assert [line["what"] for line in logged if line["event"] == "event_log_damaged"] == list(log.damage)
        assert list(log.damage) == ["notification 3", "notification 4"]
        assert [await log.skip(sequence) for sequence in (2, 3)] == [False, True]
        assert await peer.find_damage() == Damage([4], [3], ())
        with pytest.raises(EventDamagedError) as raised:
            await peer.log.read(2, 10, scope)
        assert raised.value.is_skipped
        assert await log.sequence_before(1_000_000) == 2, "from before the first one whose time is unknown"
        assert await log.append_in_order([an_event(3), an_event(4)]) == [False, True], "so is what a backfill brings"


async def test_an_event_whose_acknowledgement_was_lost_is_a_duplicate_when_it_comes_again(server: NatsServer) -> None:
    async with opened(settings_for_nats(server, timeout_seconds=0.5)) as storage:
        server.pause()
        with unavailable():
            await storage.log.append(an_event(1))
        server.resume()

        # It was on its way all the time.
        async with asyncio.timeout(30):
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


async def test_events_keep_their_order_when_the_server_is_killed_and_started_again(server: NatsServer) -> None:
    events = ordered_events(5_000)
    async with opened(settings_for_nats(server)) as storage:
        storing = asyncio.create_task(store(storage, events))
        for place in (500, 2_500):
            await reached(storage, place)
            await server.restart()
        assert await storing > 0

        assert await held(storage) == events


@pytest.mark.parametrize("place", [0, 1, 100, 400])
async def test_an_event_that_cannot_be_stored_holds_up_those_behind_it(server: NatsServer, place: int) -> None:
    events = ordered_events(500)
    # Of each window, all are sent before the first response arrives.
    events[place] = events[place]._replace(payload=bytes(2_000_000))
    async with opened(settings_for_nats(server)) as storage:
        with pytest.raises(GatewayError, match="exceeds max_payload of the NATS server"):
            await storage.log.append_in_order(events)

        assert await held(storage) == events[:place]


async def test_readers_learn_of_purged_events_and_read_on(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        log, names = storage.log, storage.names
        for number in range(1, 11):
            await log.append(an_event(number))

        async def purge(*numbers: int) -> None:
            for number in numbers:
                only = {"filter": names.event(an_event(number))}
                await api_request(storage.connection, f"STREAM.PURGE.{names.event_stream}", only)

        await purge(5, 6)
        before = await log.read(0, 100)
        assert [stored.sequence for stored in before.events] == [1, 2, 3, 4]
        assert before.bounds.trimmed_through == 0
        assert (await log.read(4, 100)).bounds.trimmed_through == 6
        assert [stored.sequence for stored in await read_all(log, 6)] == [7, 8, 9, 10]

        # The last one.
        await purge(10)
        assert (await log.read(9, 10)).bounds.trimmed_through == 10
        assert await log.append(an_event(11))
        assert [stored.sequence for stored in (await log.read(10, 10)).events] == [11]

        # All of them.
        await api_request(storage.connection, f"STREAM.PURGE.{names.event_stream}")
        assert (await log.read(2, 10)).bounds.trimmed_through == 11
        assert await log.append(an_event(12))
        assert [stored.sequence for stored in (await log.read(11, 10)).events] == [12]


async def test_what_is_no_event_is_an_error_and_not_passed_over(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        await storage.log.append(an_event(1))
        await storage.connection.request(f"{storage.names.events}.ISSUER0001.1.card-1.foreign", b"not an event")

        assert [stored.sequence for stored in (await storage.log.read(0, 10)).events] == [1]
        with pytest.raises(EventDamagedError):
            await storage.log.read(1, 10)
