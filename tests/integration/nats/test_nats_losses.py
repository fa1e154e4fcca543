"""A stream that has lost its newest events: readers beyond that place fail, and no new event is missed."""

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace

import pytest

from adapters.nats import NatsStorage
from adapters.nats.event_log.continuity import Continuity
from adapters.nats.event_log.reader import Landmark, Reader, State
from adapters.nats.event_log.subscriptions import Subscriptions
from adapters.nats.jetstream.bucket import Bucket
from adapters.nats.jetstream.lineage import Lineage
from gateway.errors import GatewayError
from gateway.notifications import cursor
from gateway.notifications.start import Start
from gateway.notifications.watch import Watchers
from gateway.ports import Event, StoredEvent
from issuer.common.v1 import error_pb2
from issuer.notification.v1 import messages_pb2 as notification
from sandbox.nats import NatsServer
from tests.conformance.storage_engines import append_all, read_all
from tests.fakes import ISSUER, FakeSubscriptionLeases, an_event
from tests.integration.nats.nats_storages import opened, recovered, settings_for_nats
from tests.unit.notifications.watches import a_watch, operations, receive

pytestmark = pytest.mark.timeout(120)

_PATIENCE_SECONDS = 30


def old(number: int) -> Event:
    """Make an event that was clearly received before those that are received now."""
    return an_event(number, receive_time_ms=time.time_ns() // 1_000_000 - (1_000 - number) * 60_000)


def new(number: int) -> Event:
    """Make an event that is received now."""
    return an_event(number, receive_time_ms=time.time_ns() // 1_000_000)


def numbers(stored: Sequence[StoredEvent]) -> list[int]:
    return [int(each.event.operation_id.removeprefix("op-")) for each in stored]


@asynccontextmanager
async def losing(server: NatsServer, stream: str = "") -> AsyncIterator[None]:
    """Have the server, or one of its streams, lose what it stores in the context, like in a power failure."""
    folder = next(server.folder.rglob(stream)) if stream else server.folder
    copy = server.folder.with_name("copy")
    await server.stop()
    shutil.copytree(folder, copy)
    await server.restart()
    yield
    await server.kill()
    shutil.rmtree(folder)
    copy.rename(folder)
    await server.restart()


async def renewed(storage: NatsStorage, log_id: str) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while storage.log.log_id == log_id:  # noqa: ASYNC110  it tells nobody but those that wait for events
            await asyncio.sleep(0.05)
    await recovered(storage)


async def end_of(stream: AsyncGenerator[bytes, None]) -> GatewayError:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        with pytest.raises(GatewayError) as raised:
            async for _ in stream:
                pass
    return raised.value


async def test_a_gateway_that_runs_on_sends_no_stream_with_a_hole_and_delivers_all_that_came_after_the_loss(
    server: NatsServer,
) -> None:
    async with opened(settings_for_nats(server)) as storage:
        log, former = storage.log, storage.log.log_id
        watchers = Watchers(log, FakeSubscriptionLeases())
        await append_all(log, [old(number) for number in range(1, 12)])
        async with losing(server):
            await recovered(storage)
            await append_all(log, [old(number) for number in range(12, 17)])
            stream = watchers.watch_subscription(a_watch(), ISSUER, "audit")
            while (await receive(stream)).cursor != cursor.encode(former, 16):
                pass
            await log.commit(ISSUER, "audit", 16, time.time_ns() // 1_000_000)

        assert (await end_of(stream)).reason == error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE
        await renewed(storage, former)
        await append_all(log, [new(number) for number in range(101, 108)])

        assert numbers(await read_all(log)) == [*range(1, 12), *range(101, 108)]
        assert (await log.bounds()).last == 18
        with pytest.raises(GatewayError) as refused:
            await Start(after_cursor=cursor.encode(former, 16)).sequence(log)
        assert refused.value.reason == error_pb2.ERROR_REASON_CURSOR_UNKNOWN
        subscription = await log.get_subscription(ISSUER, "audit")
        received = set()
        async with aclosing(watchers.watch_subscription(a_watch(), ISSUER, "audit")) as again:
            while "op-107" not in received:
                received |= set(operations([await receive(again)]))
        assert received >= {f"op-{number}" for number in range(101, 108)}
        assert subscription is None or subscription.committed <= 11


async def test_cursors_that_stand_beyond_what_is_left_go_back_when_gateways_are_started_anew(
    server: NatsServer,
) -> None:
    settings = settings_for_nats(server)
    async with opened(settings) as storage:
        former = storage.log.log_id
        await append_all(storage.log, [old(number) for number in range(1, 12)])
    async with losing(server, storage.names.event_stream), opened(settings) as storage:
        await append_all(storage.log, [old(number) for number in range(12, 17)])
        await storage.log.commit(ISSUER, "audit", 16, time.time_ns() // 1_000_000)
        await storage.log.commit(ISSUER, "slow", 3, time.time_ns() // 1_000_000)

    async with opened(settings) as storage:
        assert storage.log.log_id != former
        committed = {each.name: each.committed for each in await storage.log.list_subscriptions(ISSUER)}
        assert committed == {"audit": 11, "slow": 3}
        await append_all(storage.log, [new(101)])
        assert (await storage.log.commit(ISSUER, "audit", 12, 1)).committed == 12
    async with opened(settings) as again:
        assert again.log.log_id == storage.log.log_id
        assert numbers(await read_all(again.log, 11)) == [101]


def knowing(storage: NatsStorage, former: Lineage, known: Landmark, reader: Reader | None = None) -> Continuity:
    """Make the continuity of another gateway, which has seen an event."""
    names, connection = storage.names, storage.connection
    subscriptions = Subscriptions(Bucket(connection, names.subscription_bucket))
    reader = reader or Reader(connection, names.event_stream)
    continuity = Continuity(connection, names, reader, former, subscriptions, lambda: None)
    continuity.note_seen(known)
    return continuity


async def test_a_loss_is_noticed_even_where_another_gateway_has_filled_the_places_again(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        log, former = storage.log, Lineage(storage.log.log_id, {})
        await append_all(log, [old(number) for number in range(1, 12)])
        await append_all(log, [new(number) for number in range(101, 121)])
        await log.commit(ISSUER, "audit", 16, 1_000)
        lost = Landmark(16, storage.names.event(old(16)), old(16).receive_time_ms)

        continuity = knowing(storage, former, lost)
        assert (await continuity.check()).last == 31

        assert continuity.lineage.former == {former.log_id: 11}
        await renewed(storage, former.log_id)
        assert storage.log.log_id == continuity.lineage.log_id
        subscription = await log.get_subscription(ISSUER, "audit")
        assert subscription is not None
        assert subscription.committed == 11


async def test_another_state_of_the_lost_operation_in_its_place_is_a_loss(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        former, event = Lineage(storage.log.log_id, {}), old(1)
        await storage.log.append(event._replace(status=event.status + 1))
        lost = Landmark(1, storage.names.event(event), event.receive_time_ms, event.identity)

        continuity = knowing(storage, former, lost)
        await continuity.check()

        assert continuity.lineage.log_id != former.log_id


async def test_gateways_that_notice_at_the_same_time_agree_on_one_identity(server: NatsServer) -> None:
    settings = settings_for_nats(server)
    async with AsyncExitStack() as stack:
        storages = [await stack.enter_async_context(opened(settings)) for _ in range(4)]
        former = storages[0].log.log_id
        async with losing(server):
            for storage in storages:
                await recovered(storage)
            await append_all(storages[0].log, [old(number) for number in range(5)])
            for storage in storages:
                assert (await storage.log.bounds()).last == 5

        await asyncio.gather(*(renewed(storage, former) for storage in storages))

        assert len({storage.log.log_id for storage in storages}) == 1
        # And nobody finds a loss in it once more.
        log_id = storages[0].log.log_id
        await asyncio.sleep(3)
        assert {storage.log.log_id for storage in storages} == {log_id}


class Behind(Reader):
    """Reads from a leader that does not know the newest events for a while."""

    looks = 0

    async def state(self) -> State:
        self.looks += 1
        state = await super().state()
        return state if self.looks > 2 else replace(state, bounds=replace(state.bounds, last=state.last - 3))


async def test_a_leader_that_is_behind_for_a_moment_is_no_loss(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        former = Lineage(storage.log.log_id, {})
        await append_all(storage.log, [old(number) for number in range(1, 6)])
        behind = Behind(storage.connection, storage.names.event_stream)

        continuity = knowing(storage, former, Landmark(5, storage.names.event(old(5)), 0), behind)
        assert (await continuity.check()).last == 5

        assert continuity.lineage == former
        assert continuity.is_verified
        assert behind.looks == 3
        assert len(await read_all(storage.log)) == 5


async def test_an_announcement_of_more_than_there_is_holds_up_nobody(server: NatsServer) -> None:
    async with opened(settings_for_nats(server)) as storage:
        log = storage.log
        await log.append(new(1))
        async with aclosing(Watchers(log, FakeSubscriptionLeases()).watch(a_watch())) as stream:
            while (await receive(stream)).cursor != cursor.encode(log.log_id, 1):
                pass
            announced = ({"Nats-Sequence": each} for each in ("1000000", "9" * 5000, "-1"))
            for number, headers in enumerate((*announced, {"Other": "x"}, None), 2):
                waiting = asyncio.create_task(anext(stream))
                await asyncio.sleep(0)
                await storage.connection.publish(storage.names.appends, b"", headers=headers)
                # The server delivers the announcement before it responds to what follows.
                assert (await log.bounds()).last == number - 1
                await asyncio.sleep(0.05)
                assert not waiting.done()
                await log.append(new(number))

                async with asyncio.timeout(_PATIENCE_SECONDS):
                    message = notification.WatchNotificationsResponse.FromString(await waiting)

                assert operations([message]) == [f"op-{number}"], headers
                assert message.cursor == cursor.encode(log.log_id, number)
                assert (await log.bounds()).last == number
