"""Three servers with a replica each: acknowledged events, their order and leases survive the loss of any of them."""

import asyncio
import time
from collections import Counter

import pytest

from adapters.nats import NatsStorage
from gateway.errors import GatewayError
from gateway.ports import Lease, Scope
from sandbox.nats import NatsCluster
from tests.conformance.storage_engines import ISSUER, an_event, append_all, read_all
from tests.integration.nats.nats_storages import leader_of, opened, recovered, settings_for_nats
from tests.integration.nats.ordered_events import held, ordered_events, reached, store

pytestmark = pytest.mark.timeout(120)

NAME = "fraud"


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


async def at_least(count: int, acknowledged: Counter[int]) -> None:
    async with asyncio.timeout(50):
        while acknowledged.total() < count:  # noqa: ASYNC110  it goes on by itself
            await asyncio.sleep(0.05)


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
            await at_least(50, acknowledged)
            killed = await leader_of(cluster, one.names.event_stream)
            await killed.kill()
            await at_least(acknowledged.total() + 50, acknowledged)
            await killed.restart()
            await at_least(acknowledged.total() + 50, acknowledged)
            is_over.set()

        await recovered(one)
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

        await recovered(storage)
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
        async with asyncio.timeout(50):
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

        await (await leader_of(cluster, one.names.event_stream)).kill()
        await asyncio.gather(recovered(one), recovered(other))

        async with asyncio.timeout(50):
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


async def test_events_keep_their_order_when_the_leader_of_the_stream_dies_again_and_again(cluster: NatsCluster) -> None:
    events = ordered_events(6_000)
    settings = settings_for_nats(*cluster.servers, timeout_seconds=2, replicas=3)
    async with opened(settings) as storage, opened(settings) as other:
        storing = asyncio.create_task(store(storage, events))
        for place in (1_000, 3_000):
            await reached(other, place)
            leader = await leader_of(cluster, storage.names.event_stream)
            await leader.kill()
            await asyncio.sleep(0.5)
            await leader.restart()
        await storing

        assert await held(storage) == events


class Watching:
    """A gateway's watcher, which competes whenever it has no lease."""

    def __init__(self, storage: NatsStorage) -> None:
        self.storage = storage
        self.leases: list[Lease] = []

    @property
    def is_active(self) -> bool:
        return bool(self.leases) and self.leases[-1].is_held()

    async def compete(self) -> None:
        self.storage.leases.set_watchers(ISSUER, NAME, 1)
        while True:
            lost = asyncio.Event()
            lease = await self.storage.leases.acquire(ISSUER, NAME, lost.set)
            if lease is None:
                await self.storage.leases.wait_free(ISSUER, NAME)
            else:
                self.leases.append(lease)
                await lost.wait()


async def test_never_are_two_active_while_leaders_die_one_after_the_other(cluster: NatsCluster) -> None:
    settings = settings_for_nats(*cluster.servers, replicas=3)
    watching = [Watching(await NatsStorage.open(settings)) for _ in range(3)]
    competing = [asyncio.create_task(each.compete()) for each in watching]
    most = 0
    for _ in range(2):
        await somebody_is_active(watching)
        leader = await leader_of(cluster, f"KV_{settings.prefix}-leases")
        await leader.kill()
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            most = max(most, sum(each.is_active for each in watching))
            await asyncio.sleep(0.002)
        await leader.restart()
    await somebody_is_active(watching)

    tokens = [lease.fencing_token for each in watching for lease in each.leases]
    assert most == 1
    assert len(set(tokens)) == len(tokens)
    for each in watching:
        own = [lease.fencing_token for lease in each.leases]
        assert own == sorted(own)
    for task in competing:
        task.cancel()
    await asyncio.gather(*competing, return_exceptions=True)
    for each in watching:
        await each.storage.close()


async def somebody_is_active(watching: list[Watching]) -> None:
    async with asyncio.timeout(40):
        while not any(each.is_active for each in watching):  # noqa: ASYNC110  a lease sends no event
            await asyncio.sleep(0.01)
