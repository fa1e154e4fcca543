"""Watches that survive lost connections."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.sqlite import SqliteStorage
from d1_gateway_client import AsyncGatewayClient, GatewayClient, Options, errors
from d1_gateway_client.contracts.issuer.notification.v1 import (
    GetSubscriptionRequest,
    Notification,
    NotificationFilter,
    ResetSubscriptionRequest,
    StartPosition,
    WatcherRole,
)
from gateway.settings import EventLogSettings
from sandbox import Sandbox
from sandbox.d1.model.notification import Notification as Sent
from sandbox.d1.model.notification import new_details
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.clients.client_gateways import options_for
from tests.clients.client_links import Link
from tests.conformance.storage_engines import append_all
from tests.fakes import an_event
from tests.running import Running, running_gateway, settings_for

MANY, CUTS = 2_000, 20
KEEPALIVE_SECONDS = Options(address="gateway:8443").keepalive_seconds


@pytest.fixture
async def running(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway with an empty event log."""
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path)) as started:
        yield started


@pytest.fixture
def options(running: Running) -> Options:
    return options_for(running.addresses.grpc, running.sandbox.pki)


@pytest.fixture
async def client(options: Options) -> AsyncIterator[AsyncGatewayClient]:
    async with AsyncGatewayClient(options) as made:
        yield made


async def filled(sandbox: Sandbox, folder: Path) -> list[str]:
    """Fill an event log before a gateway uses it; return the operation ids in order."""
    storage = await SqliteStorage.open(
        settings_for(sandbox, folder).event_log.path, retention=EventLogSettings(retention_seconds=3600)
    )
    now = int(time.time() * 1000)
    events = [an_event(number, issuer_id=sandbox.issuer_id, receive_time_ms=now) for number in range(MANY)]
    await append_all(storage.log, events)
    await storage.close()
    return [event.operation_id for event in events]


def operation_id(received: Notification) -> str:
    assert received.three_ds_operation
    return received.three_ds_operation.operation_id


async def sent(sandbox: Sandbox, *operation_ids: str) -> None:
    for each in operation_ids:
        assert await sandbox.notifier.send(Sent("card-1", each, datetime.now(UTC), details=new_details())) == 204


@pytest.mark.timeout(180)
@pytest.mark.parametrize("subscription", ["", "fraud"])
async def test_notifications_through_many_broken_links_come_once_and_in_order(
    sandbox: Sandbox, tmp_path: Path, subscription: str
) -> None:
    operations = await filled(sandbox, tmp_path)
    received: list[str] = []
    async with (
        running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running,
        Link.to(running.addresses.grpc) as link,
        AsyncGatewayClient(options_for(link.address, sandbox.pki)) as client,
        client.notifications.watch(
            position=StartPosition.EARLIEST, subscription=subscription, max_batch_size=20
        ) as watch,
    ):
        async for each in watch:
            received.append(operation_id(each))
            if len(received) % 45 == 0 and subscription and link.count % 3 == 0:
                await watch.commit()
            if len(received) == MANY:
                break
            if len(received) % (MANY // CUTS) == MANY // CUTS // 2:
                link.cut()
    assert received == operations
    # A cut while the client reconnects has no effect.
    assert link.count > CUTS / 2


async def test_a_watch_resumes_after_a_kill_of_the_gateway(sandbox: Sandbox, tmp_path: Path) -> None:
    async with (
        await GatewayProcess.start(GatewayConfig.of(sandbox, tmp_path), tmp_path) as gateway,
        AsyncGatewayClient(options_for(gateway.grpc, sandbox.pki)) as client,
        client.notifications.watch(position=StartPosition.EARLIEST) as watch,
    ):
        sandbox.set_edge(gateway.edge)
        for number in range(3):
            if number:
                await gateway.restart()
            await sent(sandbox, f"op_{number}")
            assert operation_id(await anext(watch)) == f"op_{number}"


async def test_heartbeats_are_hidden_and_a_dead_link_is_noticed(sandbox: Sandbox, running: Running) -> None:
    async with (
        Link.to(running.addresses.grpc) as link,
        AsyncGatewayClient(options_for(link.address, running.sandbox.pki)) as client,
        client.notifications.watch(position=StartPosition.EARLIEST, heartbeat_seconds=0.3) as watch,
    ):
        await sent(sandbox, "op_1")
        assert operation_id(await anext(watch)) == "op_1"
        waiting = asyncio.create_task(anext(watch))
        await asyncio.sleep(1)
        assert not waiting.done(), "a heartbeat came through"
        link.die()
        died = time.monotonic()
        await sent(sandbox, "op_2")
        assert operation_id(await waiting) == "op_2"
        # Long before gRPC's own keepalive would have noticed.
        assert time.monotonic() - died < KEEPALIVE_SECONDS
        assert link.count == 2


async def test_a_blocking_watch_notices_a_dead_link(sandbox: Sandbox, running: Running) -> None:
    stopped: list[str] = []
    async with Link.to(running.addresses.grpc) as link:
        with GatewayClient(options_for(link.address, running.sandbox.pki)) as client:
            watch = client.notifications.watch(position=StartPosition.EARLIEST, heartbeat_seconds=0.3)
            await sent(sandbox, "op_1", "op_2")
            first, second = await asyncio.to_thread(lambda: (next(watch), next(watch)))
            assert [operation_id(first), operation_id(second)] == ["op_1", "op_2"]
            link.die()
            waiting = asyncio.create_task(asyncio.to_thread(next, watch))
            await sent(sandbox, "op_3")
            assert operation_id(await waiting) == "op_3"
            waiting_on = asyncio.create_task(asyncio.to_thread(lambda: stopped.extend(map(operation_id, watch))))
            await asyncio.sleep(0.2)
            watch.close()
            await waiting_on
    assert stopped == []


async def test_a_closed_watch_wakes_its_waiting_reader(client: AsyncGatewayClient) -> None:
    watch = client.notifications.watch()

    async def received() -> list[Notification]:
        return [each async for each in watch]

    waiting = asyncio.create_task(received())
    await asyncio.sleep(0.3)
    await watch.aclose()
    assert await waiting == []


async def test_a_cancelled_watch_can_be_gone_on_with(sandbox: Sandbox, client: AsyncGatewayClient) -> None:
    async with client.notifications.watch(position=StartPosition.EARLIEST) as watch:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(watch), 0.3)
        await sent(sandbox, "op_1")
        assert operation_id(await anext(watch)) == "op_1"
        assert watch.cursor
        assert watch.role is WatcherRole.ACTIVE


async def test_what_was_committed_does_not_come_again(sandbox: Sandbox, client: AsyncGatewayClient) -> None:
    await sent(sandbox, "op_1", "op_2", "op_3")
    async with client.notifications.watch(subscription="fraud", position=StartPosition.EARLIEST) as watch:
        first = await anext(watch)
        await anext(watch)
        await watch.commit(first)
    async with client.notifications.watch(subscription="fraud") as watch:
        assert [operation_id(await anext(watch)), operation_id(await anext(watch))] == ["op_2", "op_3"]
        await watch.commit()
    found = await client.notifications.get_subscription(GetSubscriptionRequest(subscription="fraud"))
    assert found.subscription
    assert found.subscription.lag == 0


async def test_a_standby_takes_over(sandbox: Sandbox, client: AsyncGatewayClient) -> None:
    async with client.notifications.watch(subscription="fraud") as standby:
        async with client.notifications.watch(subscription="fraud", position=StartPosition.EARLIEST) as active:
            await sent(sandbox, "op_1", "op_2")
            first = await anext(active)
            waiting = asyncio.create_task(anext(standby))
            while standby.role is not WatcherRole.STANDBY:  # noqa: ASYNC110 (a watch sends no event)
                await asyncio.sleep(0.05)
            await active.commit(first)
        assert operation_id(await waiting) == "op_2"


async def test_only_the_first_watch_of_a_subscription_says_where_it_starts(
    sandbox: Sandbox, running: Running, options: Options
) -> None:
    started = pytest.raises(errors.NotAllowedError, match="SUBSCRIPTION_STARTED")
    async with (
        Link.to(running.addresses.grpc) as link,
        AsyncGatewayClient(options_for(link.address, running.sandbox.pki)) as client,
    ):
        await sent(sandbox, "op_1", "op_2")
        async with client.notifications.watch(subscription="fraud", position=StartPosition.EARLIEST) as watch:
            assert operation_id(await anext(watch)) == "op_1"
            # It comes back without the start.
            link.cut()
            await sent(sandbox, "op_3")
            assert [operation_id(await anext(watch)) for _ in range(2)] == ["op_2", "op_3"]
        for start in ({"position": StartPosition.EARLIEST}, {"since": datetime.now(UTC)}, {"after_cursor": "x"}):
            async with client.notifications.watch(subscription="fraud", **start) as watch:
                with started:
                    await anext(watch)

    def blocking() -> None:
        with GatewayClient(options) as made:
            start = StartPosition.LATEST
            with made.notifications.watch(subscription="fraud", position=start) as refused, started:
                next(refused)

    await asyncio.to_thread(blocking)


async def test_a_reset_subscription_is_delivered_again_to_the_watch_that_is_opened_anew(
    sandbox: Sandbox, client: AsyncGatewayClient
) -> None:
    await sent(sandbox, "op_1", "op_2")
    reset = ResetSubscriptionRequest(subscription="fraud", position=StartPosition.EARLIEST)
    await client.notifications.reset_subscription(reset)
    async with client.notifications.watch(subscription="fraud") as watch:
        first, second = await anext(watch), await anext(watch)
        await watch.commit()
        with pytest.raises(errors.NotAllowedError, match="SUBSCRIPTION_IN_USE"):
            await client.notifications.reset_subscription(reset)

        await client.notifications.reset_subscription(replace(reset, fencing_token=watch.fencing_token))

        for commit in (watch.commit(), watch.commit(second), watch.commit(first)):
            with pytest.raises(errors.NotAllowedError, match="FENCING_TOKEN_STALE"):
                await commit
    async with client.notifications.watch(subscription="fraud") as watch:
        assert [operation_id(await anext(watch)) for _ in range(2)] == ["op_1", "op_2"]


async def test_a_filter_is_kept_when_the_link_is_renewed(sandbox: Sandbox, running: Running) -> None:
    async with (
        Link.to(running.addresses.grpc) as link,
        AsyncGatewayClient(options_for(link.address, running.sandbox.pki)) as client,
        client.notifications.watch(
            position=StartPosition.EARLIEST, filter=NotificationFilter(operation_ids=["op_1", "op_4"])
        ) as watch,
    ):
        await sent(sandbox, "op_1", "op_2")
        assert operation_id(await anext(watch)) == "op_1"
        link.cut()
        await sent(sandbox, "op_3", "op_4")
        assert operation_id(await anext(watch)) == "op_4"


async def test_what_coming_back_cannot_mend_is_raised(client: AsyncGatewayClient, options: Options) -> None:
    async with client.notifications.watch(after_cursor="no cursor") as watch:
        with pytest.raises(errors.InvalidRequestError, match="CURSOR_UNKNOWN"):
            await anext(watch)

    def blocking() -> None:
        with GatewayClient(options) as made, made.notifications.watch(after_cursor="no cursor") as watch:
            next(watch)

    with pytest.raises(errors.InvalidRequestError, match="CURSOR_UNKNOWN"):
        await asyncio.to_thread(blocking)


async def test_a_watch_without_a_subscription_commits_nothing(client: AsyncGatewayClient) -> None:
    async with client.notifications.watch() as watch:
        with pytest.raises(ValueError, match="keep `cursor` yourself"):
            await watch.commit()
    with pytest.raises(ValueError, match="set at most one"):
        client.notifications.watch(after_cursor="x", position=StartPosition.LATEST)
