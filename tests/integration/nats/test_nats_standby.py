"""Watchers of one subscription at two gateways, over a real server."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress

import pytest

from adapters.nats import NatsStorage
from adapters.nats.jetstream.bucket import Bucket
from adapters.nats.leases.session import END, SILENT_SECONDS
from gateway.errors import GatewayError
from gateway.notifications.watch import Watchers
from gateway.settings import NatsSettings
from issuer.common.v1 import error_pb2
from issuer.notification.v1 import messages_pb2 as notification
from sandbox.nats import NatsServer
from tests.fakes import ISSUER, an_event
from tests.integration.nats.nats_storages import opened, settings_for_nats
from tests.unit.notifications.watches import EARLIEST, LATEST, a_watch, operations, receive

ACTIVE = notification.WATCHER_ROLE_ACTIVE
STANDBY = notification.WATCHER_ROLE_STANDBY
NAME = "fraud"


class Gateway:
    """The watchers of a gateway."""

    def __init__(self, storage: NatsStorage) -> None:
        self.log = storage.log
        self._leases = storage.leases
        self._watchers = Watchers(storage.log, storage.leases)

    async def reset(self, fencing_token: int = 0) -> str:
        return await self._watchers.subscriptions.reset(ISSUER, NAME, EARLIEST, fencing_token)

    async def is_watched(self) -> bool:
        return await self._leases.is_taken(ISSUER, NAME)

    async def commit(self, cursor: str, fencing_token: int) -> str:
        return await self._watchers.subscriptions.commit(ISSUER, NAME, cursor, fencing_token)

    def subscribe(self, heartbeat_seconds: float = 0.2) -> AsyncGenerator[bytes, None]:
        return self._watchers.watch_subscription(a_watch(LATEST, heartbeat_seconds=heartbeat_seconds), ISSUER, NAME)


@pytest.fixture
def settings(server: NatsServer) -> NatsSettings:
    return settings_for_nats(server)


@pytest.fixture
async def one(settings: NatsSettings) -> AsyncIterator[Gateway]:
    async with opened(settings) as storage:
        yield Gateway(storage)


@pytest.fixture
async def two(settings: NatsSettings) -> AsyncIterator[Gateway]:
    async with opened(settings) as storage:
        yield Gateway(storage)


async def becomes(
    role: "notification.WatcherRole.ValueType", stream: AsyncGenerator[bytes, None]
) -> notification.WatchNotificationsResponse:
    message = await receive(stream)
    while message.role != role:
        message = await receive(stream)
    return message


async def take(stream: AsyncGenerator[bytes, None], count: int) -> list[notification.WatchNotificationsResponse]:
    messages: list[notification.WatchNotificationsResponse] = []
    while len(operations(messages)) < count:
        messages.append(await receive(stream))
    return messages


async def test_the_second_gateways_watcher_stands_by_and_takes_over_at_the_committed_cursor(
    one: Gateway, two: Gateway
) -> None:
    active, standby = one.subscribe(), two.subscribe()
    first = await receive(active)
    assert first.role == ACTIVE
    assert (await receive(standby)).role == STANDBY
    for number in range(1, 6):
        assert await two.log.append(an_event(number))
    received = await take(active, 5)
    assert operations(received) == [f"op-{number}" for number in range(1, 6)]
    assert {message.fencing_token for message in received} == {first.fencing_token}
    await one.log.commit(ISSUER, NAME, 3, 0)
    beat = await receive(standby)
    assert (beat.role, beat.fencing_token, operations([beat])) == (STANDBY, 0, [])

    # Sooner than the peers could take the gateway for dead.
    async with asyncio.timeout(SILENT_SECONDS):
        await active.aclose()
        begin = await becomes(ACTIVE, standby)

    assert begin.fencing_token > first.fencing_token
    assert operations(await take(standby, 2)) == ["op-4", "op-5"]
    await standby.aclose()


async def test_a_reset_at_one_gateway_holds_for_watchers_and_commits_at_the_other(one: Gateway, two: Gateway) -> None:
    async with aclosing(one.subscribe()) as active:
        begin = await receive(active)
        for number in range(1, 4):
            assert await two.log.append(an_event(number))
        end = (await take(active, 3))[-1].cursor
        await one.commit(end, begin.fencing_token)

        with pytest.raises(GatewayError) as caught:
            await two.reset()
        assert caught.value.reason == error_pb2.ERROR_REASON_SUBSCRIPTION_IN_USE
        assert await two.reset(begin.fencing_token) == begin.cursor
        with pytest.raises(GatewayError) as caught:
            await one.commit(end, begin.fencing_token)
        assert caught.value.reason == error_pb2.ERROR_REASON_FENCING_TOKEN_STALE

        async with aclosing(two.subscribe()) as standby:
            assert (await receive(standby)).role == STANDBY
            await active.aclose()
            again = await becomes(ACTIVE, standby)
            assert operations(await take(standby, 3)) == ["op-1", "op-2", "op-3"]

    assert again.cursor == begin.cursor
    with pytest.raises(GatewayError):
        await one.commit(end, begin.fencing_token)
    assert await one.commit(end, again.fencing_token) == end


async def test_a_reset_beside_a_take_over_at_another_gateway_leaves_no_watcher_at_the_old_place(
    one: Gateway, two: Gateway
) -> None:
    for number in range(1, 4):
        assert await one.log.append(an_event(number))
    end = (await one.log.read(0, 10)).events[-1].sequence
    for round_ in range(20):
        await one.log.commit(ISSUER, NAME, end, 0)
        resetting = asyncio.create_task(two.reset())
        # More or less of the reset is done when the watcher begins.
        await asyncio.sleep(round_ / 5_000)
        async with aclosing(one.subscribe()) as stream:
            begin = await becomes(ACTIVE, stream)
            (result,) = await asyncio.gather(resetting, return_exceptions=True)
            if isinstance(result, GatewayError):
                assert result.reason == error_pb2.ERROR_REASON_SUBSCRIPTION_IN_USE
                assert begin.cursor.endswith(f"-{end}")
            else:
                assert begin.cursor == result
                assert begin.cursor.endswith("-0")
            assert await two.commit(begin.cursor, begin.fencing_token) == begin.cursor
        while await two.is_watched():
            pass


async def test_a_gateway_keeps_its_lease_when_its_first_watcher_leaves(one: Gateway, two: Gateway) -> None:
    first, other, second = one.subscribe(), two.subscribe(), one.subscribe()
    begin = await receive(first)
    assert [(await receive(stream)).role for stream in (other, second)] == [STANDBY, STANDBY]

    await first.aclose()
    taken_over = await becomes(ACTIVE, second)

    assert taken_over.fencing_token > begin.fencing_token
    assert (await receive(other)).role == STANDBY
    await second.aclose()
    assert (await becomes(ACTIVE, other)).fencing_token > taken_over.fencing_token
    await other.aclose()


async def test_a_watcher_whose_gateway_was_taken_for_dead_stands_by_and_competes_again(
    one: Gateway, settings: NatsSettings
) -> None:
    async with aclosing(one.subscribe(300)) as stream:
        # Heartbeats are so rare that only the loss itself can be what is notice.
        begin = await receive(stream)
        assert await one.log.append(an_event(1))
        assert operations(await take(stream, 1)) == ["op-1"]

        # Like peers that receive no renewals.
        async with opened(settings) as storage:
            bucket = Bucket(storage.connection, storage.names.lease_bucket)
            for key in await bucket.keys("session.*"):
                await bucket.put(key, END)

        notice = await receive(stream)
        again = await becomes(ACTIVE, stream)

        assert (notice.role, notice.fencing_token, operations([notice])) == (STANDBY, 0, [])
        assert again.fencing_token > begin.fencing_token
        assert operations(await take(stream, 1)) == ["op-1"], "it was not committed"


async def test_after_an_outage_a_watcher_that_stood_by_takes_over_without_coming_anew(
    one: Gateway, two: Gateway, server: NatsServer
) -> None:
    active = one.subscribe()
    begin = await receive(active)
    async with aclosing(two.subscribe()) as standby:
        assert (await receive(standby)).role == STANDBY

        await server.kill()
        # The active one either learns first that its lease is lost, or that the log is gone.
        with suppress(GatewayError):
            await becomes(STANDBY, active)
        await active.aclose()
        for _ in range(20):
            assert (await receive(standby)).role == STANDBY
        await server.restart()
        # What the cluster's documentation promises.
        async with asyncio.timeout(5.0):
            again = await becomes(ACTIVE, standby)

        assert again.fencing_token > begin.fencing_token
        assert await two.log.append(an_event(1))
        assert operations(await take(standby, 1)) == ["op-1"]
