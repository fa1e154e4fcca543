"""Ordered appends to a stream whose servers fail and return."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from adapters.nats import NatsStorage
from gateway.errors import GatewayError
from gateway.ports import Event
from gateway.settings import NatsSettings
from sandbox.nats import NatsCluster, NatsServer

_COUNT = 20_000


def _events() -> list[Event]:
    return [
        Event("ISSUER0001", 1, f"card-{number % 501}", f"operation-{number}", "", 1, 2, number, b"payload" * 40)
        for number in range(_COUNT)
    ]


async def _store(storage: NatsStorage, events: list[Event]) -> int:
    """Store events with as many attempts as needed. Returns the number of failed ones."""
    failures = 0
    for start in range(0, _COUNT, 1000):
        async with asyncio.timeout(60):
            while True:
                try:
                    await storage.log.append_in_order(events[start : start + 1000])
                    break
                except GatewayError:
                    failures += 1
                    await asyncio.sleep(0.1)
    return failures


async def _reached(storage: NatsStorage, place: int) -> None:
    """Wait until ``place`` events are stored, through every outage."""
    async with asyncio.timeout(60):
        while True:
            with suppress(GatewayError):
                await storage.log.wait_beyond(place)
                return
            await asyncio.sleep(0.05)


async def _held(storage: NatsStorage) -> list[Event]:
    found: list[Event] = []
    after = 0
    while (read := await storage.log.read(after, 1000)).events:
        found += [stored.event for stored in read.events]
        after = read.through
    return found


@pytest.mark.timeout(180)
async def test_events_keep_their_order_when_the_leader_of_the_stream_dies_again_and_again(tmp_path: Path) -> None:
    events = _events()
    async with await NatsCluster.start(tmp_path) as cluster:
        settings = NatsSettings(servers=cluster.urls, prefix="ordered", replicas=3, request_timeout_seconds=2.0)
        storage = await NatsStorage.open(settings)
        other = await NatsStorage.open(settings)
        try:
            storing = asyncio.create_task(_store(storage, events))
            for place in (3_000, 8_000, 14_000):
                await _reached(other, place)
                leader = await cluster.leader("ordered-events")
                assert leader is not None
                await leader.kill()
                await asyncio.sleep(0.5)
                await leader.restart()
            await storing

            found = await _held(storage)
            assert len(found) == len(events)
            assert found == events
        finally:
            await other.close()
            await storage.close()


async def test_events_keep_their_order_when_the_server_is_killed_and_started_again(tmp_path: Path) -> None:
    events = _events()
    async with await NatsServer.start(tmp_path) as server:
        storage = await NatsStorage.open(NatsSettings(servers=(server.url,), prefix="ordered", replicas=1))
        try:
            storing = asyncio.create_task(_store(storage, events))
            for place in (2_000, 9_000):
                await _reached(storage, place)
                await server.restart()
            assert await storing > 0

            assert await _held(storage) == events
        finally:
            await storage.close()


@pytest.mark.parametrize("place", [0, 1, 100, 400])
async def test_an_event_that_cannot_be_stored_holds_up_those_behind_it(server: NatsServer, place: int) -> None:
    events = _events()[:500]
    # Of each window, all are sent before the first answer comes.
    events[place] = events[place]._replace(payload=bytes(2_000_000))
    storage = await NatsStorage.open(NatsSettings(servers=(server.url,), prefix="ordered", replicas=1))
    try:
        with pytest.raises(GatewayError, match="exceeds max_payload of the NATS server"):
            await storage.log.append_in_order(events)

        assert await _held(storage) == events[:place]
    finally:
        await storage.close()
