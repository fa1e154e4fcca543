"""Three servers with a replica each: events, their order, entries and leases survive the loss of any of them.

That under load nothing acknowledged is lost or stored twice is in `tests/fault/cluster/test_cluster_faults.py`.
"""

import asyncio
import itertools
import time
from contextlib import AsyncExitStack

import pytest

from adapters.nats import NatsStorage
from gateway.errors import GatewayError
from gateway.ports import Lease, Scope
from sandbox.nats import NatsCluster
from tests.conformance.storage_engines import ISSUER, an_event, append_all
from tests.integration.nats.nats_storages import leader_of, opened, recovered, settings_for_nats
from tests.integration.nats.ordered_events import held, ordered_events, reached, store

pytestmark = pytest.mark.timeout(120)

NAME = "fraud"


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
        assert await one.key_value_store.put_if_absent("key", b"first", 60) is None

        await (await leader_of(cluster, one.names.event_stream)).kill()
        await asyncio.gather(recovered(one), recovered(other))

        async with asyncio.timeout(50):
            while True:
                try:
                    assert await one.key_value_store.get("key") == b"first"
                    assert await other.key_value_store.put_if_absent("key", b"other", 60) == b"first"
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
    most = 0
    async with AsyncExitStack() as stack:
        watching = [Watching(await stack.enter_async_context(opened(settings))) for _ in range(3)]
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        competing = [tasks.create_task(each.compete()) for each in watching]
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
        for task in competing:
            task.cancel()

    assert most == 1
    tokens = [[lease.fencing_token for lease in each.leases] for each in watching]
    assert len({*itertools.chain(*tokens)}) == sum(map(len, tokens))
    assert tokens == [sorted(own) for own in tokens]


async def somebody_is_active(watching: list[Watching]) -> None:
    async with asyncio.timeout(40):
        while not any(each.is_active for each in watching):  # noqa: ASYNC110  a lease sends no event
            await asyncio.sleep(0.01)
