"""Three servers with a replica each: acknowledged events survive the loss of any of them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.nats import NatsStorage
from gateway.errors import GatewayError
from gateway.ports import Scope
from sandbox.nats import NatsCluster, NatsServer
from tests.conformance.storage_engines import ISSUER, an_event, append_all, read_all
from tests.integration.nats.nats_storages import opened, recovered, settings_for_nats

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with await NatsCluster.start(tmp_path / "cluster") as cluster:
        yield cluster


async def leader_of(cluster: NatsCluster, storage: NatsStorage) -> NatsServer:
    async with asyncio.timeout(30):
        while (leader := await cluster.leader(storage.names.event_stream)) is None:  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.05)
    return leader


async def insist(storage: NatsStorage, number: int, acknowledged: Counter[int]) -> None:
    """Send an event until it is acknowledged, like D1."""
    while True:
        try:
            await storage.log.append(an_event(number, subject_id=f"card-{number % 5}"))
        except GatewayError:
            await asyncio.sleep(0.1)
        else:
            acknowledged[number] += 1
            return


async def test_what_was_acknowledged_is_there_once_though_the_leader_was_killed_meanwhile(cluster: NatsCluster) -> None:
    settings = settings_for_nats(*cluster.servers, timeout_seconds=2, replicas=3)
    async with opened(settings) as one, opened(settings) as other:
        log_id = one.log.log_id
        acknowledged: Counter[int] = Counter()
        numbers = iter(range(100_000))
        is_over = asyncio.Event()

        async def bring(storage: NatsStorage) -> None:
            while not is_over.is_set():
                await insist(storage, next(numbers), acknowledged)

        async with asyncio.TaskGroup() as bringing:
            for storage in (one, other) * 4:
                bringing.create_task(bring(storage))
            for _ in range(2):
                await asyncio.sleep(0.5)
                killed = await leader_of(cluster, one)
                await killed.kill()
                before = acknowledged.total()
                async with asyncio.timeout(30):
                    while acknowledged.total() < before + 50:  # noqa: ASYNC110  it goes on by itself
                        await asyncio.sleep(0.05)
                await killed.restart()
            is_over.set()

        await recovered(one, within_seconds=10)
        stored = await read_all(one.log)
        found = Counter(int(each.event.operation_id.removeprefix("operation-")) for each in stored)
        assert set(acknowledged) <= set(found)
        assert set(found.values()) == {1}
        assert [each.sequence for each in stored] == list(range(1, len(stored) + 1))
        assert await read_all(other.log) == stored
        # No new leader was mistaken for one that has lost something.
        assert {one.log.log_id, other.log.log_id} == {log_id}


async def test_a_gateway_that_knows_one_server_finds_the_others(cluster: NatsCluster) -> None:
    first = cluster.servers[0]
    settings = settings_for_nats(first, replicas=3)
    async with opened(settings) as storage:
        await storage.log.append(an_event(1))

        await first.kill()

        await recovered(storage, within_seconds=20)
        assert not await storage.log.append(an_event(1))


async def test_a_reader_at_any_server_sees_at_once_what_was_acknowledged_at_another(cluster: NatsCluster) -> None:
    settings = settings_for_nats(*cluster.servers, replicas=3)
    at_each = [settings.model_copy(update={"servers": (server.url,)}) for server in cluster.servers]
    async with opened(at_each[0]) as writer, opened(at_each[1]) as one, opened(at_each[2]) as other:
        waiting = asyncio.create_task(one.log.wait_beyond(0))
        for number in range(1, 101):
            await writer.log.append(an_event(number, subject_id=f"card-{number % 10}"))
            assert (await other.log.bounds()).last == number
            assert [stored.sequence for stored in (await other.log.read(number - 1, 10)).events] == [number]
        async with asyncio.timeout(10):
            await waiting

        read = await one.log.read(0, 100, Scope(ISSUER, 1, "card-3"))
        assert [stored.sequence for stored in read.events] == list(range(3, 101, 10))


async def test_entries_and_cursors_survive_the_loss_of_a_server(cluster: NatsCluster) -> None:
    settings = settings_for_nats(*cluster.servers, replicas=3)
    async with opened(settings) as one, opened(settings) as other:
        await append_all(one.log, [an_event(1)])
        await one.log.commit(ISSUER, "fraud", 1, 1_000)
        puts = (
            storage.key_value_store.put_if_absent("key", name, 60)
            for storage, name in ((one, b"one"), (other, b"other"))
        )
        outcomes = await asyncio.gather(*puts)
        winner = b"one" if outcomes[0] is None else b"other"
        assert sorted(outcomes, key=str) == sorted([None, winner], key=str)

        await (await leader_of(cluster, one)).kill()
        await asyncio.gather(recovered(one, within_seconds=20), recovered(other, within_seconds=20))

        async with asyncio.timeout(30):
            while True:
                try:
                    assert await one.key_value_store.get("key") == winner
                    assert await other.key_value_store.put_if_absent("key", b"third", 60) == winner
                    subscription = await other.log.get_subscription(ISSUER, "fraud")
                except GatewayError:
                    await asyncio.sleep(0.1)
                else:
                    break
        assert subscription is not None
        assert subscription.committed == 1
