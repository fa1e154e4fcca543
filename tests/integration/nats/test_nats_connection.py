"""The connection to NATS is lost, breaks, hangs and comes back; two servers answer one request."""

import asyncio
import logging

import pytest

from adapters.nats import NatsStorage
from adapters.nats.connection.connection import Connection, Msg
from adapters.nats.connection.dial import hang_up
from adapters.nats.connection.errors import DisconnectedError
from gateway.errors import GatewayError
from sandbox.nats import NatsServer
from tests.conformance.storage_engines import STORE_DOWN, an_event, read_all, uses
from tests.integration.nats.nats_storages import disconnected, opened, recovered, settings_for_nats, unavailable


async def test_without_a_connection_everything_fails_at_once_and_nothing_of_it_is_sent_later(
    server: NatsServer,
) -> None:
    async with opened(settings_for_nats(server, timeout_seconds=40)) as storage:
        await server.kill()
        await disconnected(storage)

        # All together in less than the time limit of one.
        async with asyncio.timeout(20):
            for reason, use in uses(storage):
                with unavailable(reason):
                    await use()

        await server.restart()
        await recovered(storage)
        # What comes later on the same connection was sent later.
        assert await storage.log.append(an_event(1))
        assert [stored.event for stored in await read_all(storage.log)] == [an_event(1)]


async def test_what_is_on_its_way_when_the_connection_is_lost_fails_then(server: NatsServer) -> None:
    async with opened(settings_for_nats(server, timeout_seconds=30)) as storage:
        server.pause()
        pending = [asyncio.create_task(use()) for _, use in uses(storage)]
        await asyncio.sleep(0.1)

        await server.kill()

        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*pending, return_exceptions=True)
        assert [getattr(outcome, "reason", outcome) for outcome in outcomes] == [reason for reason, _ in uses(storage)]


async def test_a_change_without_a_response_may_have_been_made_and_a_read_changes_nothing(server: NatsServer) -> None:
    async with opened(settings_for_nats(server, timeout_seconds=0.3)) as storage:
        changes = [
            storage.key_value_store.put_if_absent("key", b"value", 60),
            storage.key_value_store.put("key", b"value", 60),
            storage.log.append(an_event(1)),
            storage.log.commit("ISSUER0001", "fraud", 1, 1),
            storage.log.delete_subscription("ISSUER0001", "fraud"),
        ]
        reads = [storage.key_value_store.get("key"), storage.log.read(0, 10), storage.log.bounds()]
        server.pause()

        outcomes = await asyncio.gather(*changes, *reads, return_exceptions=True)

        names = [outcome.outcome_name for outcome in outcomes if isinstance(outcome, GatewayError)]
        assert names == ["UNKNOWN"] * len(changes) + ["REJECTED"] * len(reads)


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
        await recovered(storage)

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
            await asyncio.wait_for(storage.log.append(an_event(1)), 20)
        with unavailable(STORE_DOWN):
            await asyncio.wait_for(storage.key_value_store.get("key"), 20)
        await disconnected(storage)

        server.resume()
        await recovered(storage)


async def test_a_storage_is_closed_at_once_while_nats_is_gone(server: NatsServer) -> None:
    storages = [await NatsStorage.open(settings_for_nats(server, timeout_seconds=40)) for _ in range(3)]
    await server.kill()
    # Before it has noticed, while it connects again, and while it pauses between two attempts.
    for pause_seconds, storage in zip((0.0, 0.1, 0.6), storages, strict=True):
        await asyncio.sleep(pause_seconds)
        async with asyncio.timeout(20):
            await storage.close()


async def test_what_is_sent_into_a_closed_transport_fails_as_without_a_connection(server: NatsServer) -> None:
    async with opened(settings_for_nats(server, timeout_seconds=40)) as storage:
        connection = storage.connection
        client = connection._client
        assert client is not None
        client._transport._io_writer.transport.abort()  # type: ignore[union-attr] # as the kernel does to it

        async with asyncio.timeout(20):
            with pytest.raises(DisconnectedError):
                await connection.request("nobody.there", b"x")

        await recovered(storage)


async def test_a_client_that_fails_to_close_leaves_no_task_and_no_error_in_the_log(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    before = asyncio.all_tasks()
    async with opened(settings_for_nats(server)) as storage:
        client = storage.connection._client
        assert client is not None
        # What it has not sent when its transport breaks, it tries to send once more.
        client._transport._io_writer.transport.abort()  # type: ignore[union-attr]
        client._pending.append(b"PING\r\n")
        client._pending_data_size += 6
        await asyncio.sleep(0.2)
        await hang_up(client)
        await recovered(storage)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_of_two_responses_the_first_one_counts(server: NatsServer) -> None:
    requesting = await Connection.open(settings_for_nats(server))
    responding = await Connection.open(settings_for_nats(server))
    tasks: set[asyncio.Task[None]] = set()

    async def respond(request: Msg) -> None:
        # Two servers may both consider themselves the leader for a moment. Their responses arrive together, before the
        # requester looks.
        for text in (b"first", b"second"):
            await responding.publish(request.reply, text)

    def receive(request: Msg) -> None:
        tasks.add(asyncio.create_task(respond(request)))

    try:
        await responding.subscribe("twice", receive)
        # The server knows another connection's subscription once it has answered that connection.
        async with asyncio.timeout(30):
            await responding.request("twice")
            responses = await asyncio.gather(*(requesting.request("twice") for _ in range(50)))
        assert [each.data for each in responses] == [b"first"] * 50
        await asyncio.gather(*tasks)
    finally:
        await requesting.close()
        await responding.close()
