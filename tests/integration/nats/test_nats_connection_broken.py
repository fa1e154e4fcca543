"""A connection whose transport is gone before the client has noticed."""

import asyncio
import logging

import pytest

from adapters.nats.connection.dial import hang_up
from adapters.nats.connection.errors import DisconnectedError
from sandbox.nats import NatsServer
from tests.integration.nats.nats_storages import opened, recovered, settings_for_nats


async def test_what_is_sent_into_a_closed_transport_fails_as_without_a_connection(server: NatsServer) -> None:
    async with opened(settings_for_nats(server, timeout_seconds=5)) as storage:
        connection = storage.connection
        client = connection._client
        assert client is not None
        client._transport._io_writer.transport.abort()  # type: ignore[union-attr] # as the kernel does to it

        async with asyncio.timeout(3):
            with pytest.raises(DisconnectedError):
                await connection.request("nobody.there", b"x")

        await recovered(storage, within_seconds=5)


async def test_a_client_that_fails_to_close_leaves_no_task_and_no_error_in_the_log(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    before = asyncio.all_tasks()
    async with opened(settings_for_nats(server, timeout_seconds=5)) as storage:
        client = storage.connection._client
        assert client is not None
        # What it has not sent when its transport breaks, it tries to send once more.
        client._transport._io_writer.transport.abort()  # type: ignore[union-attr]
        client._pending.append(b"PING\r\n")
        client._pending_data_size += 6
        await asyncio.sleep(0.2)
        await hang_up(client)
        await recovered(storage, within_seconds=5)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
