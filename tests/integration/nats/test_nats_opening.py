"""Errors when NATS is unsuitable, and what the gateway creates there when it is suitable."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from adapters.nats import NatsStorage
from adapters.nats.connection.connection import Connection
from adapters.nats.jetstream.jetstream import api_request
from adapters.nats.jetstream.streams import Names
from gateway.settings import EventLogSettings, NatsSettings
from sandbox.nats import NatsServer
from tests.conformance.storage_engines import ISSUER, an_event, append_all, read_all
from tests.integration.nats.nats_storages import NO_SERVER, open_error, opened, settings_for_nats, unavailable


async def ask_server(settings: NatsSettings, what: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
    connection = await Connection.open(settings)
    try:
        return await api_request(connection, what, body)
    finally:
        await connection.close()


async def test_servers_that_cannot_be_used_are_rejected_with_the_reason(server: NatsServer, tmp_path: Path) -> None:
    async with (
        await NatsServer.start(tmp_path / "plain", jetstream=False) as plain,
        await NatsServer.start(tmp_path / "small", settings="max_payload: 65536") as small,
    ):
        # At the same time, as each tries for a while.
        gone, without_jetstream, too_few, too_small = await asyncio.gather(
            open_error(settings_for_nats(server).model_copy(update={"servers": (NO_SERVER,)})),
            open_error(settings_for_nats(plain)),
            open_error(settings_for_nats(server, replicas=3)),
            open_error(settings_for_nats(small)),
        )

    assert NO_SERVER in gone
    assert "Connection refused" in gone
    assert without_jetstream == "The NATS servers have no JetStream; enable it in their configuration."
    assert "too few" in too_few
    assert "set nats.replicas to 1" in too_few
    assert "set its max_payload to 1048576 or more" in too_small


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"metadata": {}}, "No gateway created"),
        ({"metadata": {"d1-gateway.format": "2"}}, "A newer version created"),
        ({"storage": "memory", "metadata": {"d1-gateway.format": "1"}}, "was changed: storage"),
        ({"discard": "new", "metadata": {"d1-gateway.format": "1"}}, "was changed: discard"),
    ],
)
async def test_a_stream_that_is_not_as_ours_are_is_left_as_it_is(
    server: NatsServer, change: dict[str, object], expected: str
) -> None:
    settings = settings_for_nats(server)
    async with opened(settings) as storage:
        names = storage.names
        config = (await api_request(storage.connection, f"STREAM.INFO.{names.event_stream}"))["config"]
    await ask_server(settings, f"STREAM.DELETE.{names.event_stream}")
    await ask_server(settings, f"STREAM.CREATE.{names.event_stream}", config | change)

    message = await open_error(settings)

    assert expected in message
    assert names.event_stream in message
    if "newer" not in expected:
        assert "Set nats.prefix to another name, or remove the stream" in message
    found = (await ask_server(settings, f"STREAM.INFO.{names.event_stream}"))["config"]
    assert all(found.get(key, {}) == value or key == "metadata" for key, value in change.items())


async def test_retention_follows_the_settings_of_the_gateway_that_started_last(server: NatsServer) -> None:
    settings = settings_for_nats(server)
    async with opened(settings) as storage:
        await storage.log.append(an_event(1))
    retention = EventLogSettings(retention_seconds=3600, retention_bytes=10_000_000)
    async with opened(settings, retention=retention) as storage:
        config = (await api_request(storage.connection, f"STREAM.INFO.{storage.names.event_stream}"))["config"]

        assert (config["max_age"], config["max_bytes"]) == (3600 * 10**9, 10_000_000)
        assert [stored.event for stored in await read_all(storage.log)] == [an_event(1)]


async def test_gateways_that_start_together_make_one_storage(server: NatsServer) -> None:
    settings = settings_for_nats(server)

    storages = await asyncio.gather(*(NatsStorage.open(settings) for _ in range(8)))
    try:
        assert len({storage.log.log_id for storage in storages}) == 1
        news = await asyncio.gather(*(storage.log.append(an_event(1)) for storage in storages))
        assert sorted(news) == [False] * 7 + [True]
    finally:
        await asyncio.gather(*(storage.close() for storage in storages))


async def test_a_gateway_whose_stream_another_one_made_anew_goes_on_with_that(server: NatsServer) -> None:
    settings = settings_for_nats(server, timeout_seconds=1)
    async with opened(settings) as storage:
        former = storage.log.log_id
        await append_all(storage.log, [an_event(1), an_event(2)])
        await storage.log.commit(ISSUER, "fraud", 2, 1_000)
        await api_request(storage.connection, f"STREAM.DELETE.{Names(settings.prefix).event_stream}")
        with unavailable():
            await storage.log.append(an_event(1))
        async with opened(settings) as maker:
            assert (await storage.log.bounds()).last == 0
            assert storage.log.log_id == maker.log.log_id != former
            # No place of the old log is taken for one of the new one.
            for each in (storage, maker):
                subscription = await each.log.get_subscription(ISSUER, "fraud")
                assert subscription is not None
                assert subscription.committed == 0


async def test_the_size_of_the_events_is_reported(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        await storage.log.append(an_event(1, payload=bytes(100_000)))
        await storage.log.bounds()

        assert 100_000 <= storage.size_bytes() <= 110_000
