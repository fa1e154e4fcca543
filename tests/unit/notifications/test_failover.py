import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from gateway.backfill.backfill import Backfill
from gateway.errors import GatewayError
from gateway.grpc_api.services.backfills import OrderedBackfills
from gateway.grpc_api.services.notifications import NotificationServicer
from gateway.notifications.start import Start
from gateway.notifications.watch import Watch, Watchers
from gateway.ports import Event, Read, Scope
from issuer.common.v1 import error_pb2
from issuer.notification.v1 import messages_pb2 as notification
from tests.fakes import ISSUER, FakeEventLog, FakeSubscriptionLeases, an_event
from tests.unit.backfill.histories import FakeOperationHistory
from tests.unit.notifications.watches import (
    EARLIEST,
    LATEST,
    a_log_of,
    a_subscribed_log_of,
    a_watch,
    collect,
    operations,
    receive,
    settle,
    watchers_of,
)

ACTIVE = notification.WATCHER_ROLE_ACTIVE
STANDBY = notification.WATCHER_ROLE_STANDBY
NAME = "bookkeeping"


def subscribe(watchers: Watchers, watch: Watch | None = None, name: str = NAME) -> AsyncGenerator[bytes, None]:
    return watchers.watch_subscription(
        a_watch(LATEST, heartbeat_seconds=0.02) if watch is None else watch, ISSUER, name
    )


async def becomes_active(stream: AsyncGenerator[bytes, None]) -> notification.WatchNotificationsResponse:
    message = await receive(stream)
    while message.role == STANDBY:
        assert not message.notifications
        message = await receive(stream)
    return message


@pytest.mark.parametrize("committed", [0, 3])
async def test_when_the_active_watcher_leaves_the_next_one_takes_over_at_the_committed_cursor(committed: int) -> None:
    log = a_subscribed_log_of(5, NAME)
    watchers = watchers_of(log)
    active, standby = subscribe(watchers), subscribe(watchers)
    await receive(active)
    assert operations([await receive(active)]) == [f"op-{number}" for number in range(1, 6)]
    assert (await receive(standby)).role == STANDBY
    if committed:
        await log.commit(ISSUER, NAME, committed, 0)

    await active.aclose()
    first = await becomes_active(standby)
    messages = await collect(standby, log, 5)

    assert first.cursor == f"0a1b2c3d-{committed}"
    assert operations(messages) == [f"op-{number}" for number in range(committed + 1, 6)]


async def test_when_the_active_watcher_breaks_the_next_one_takes_over_and_no_watcher_is_left() -> None:
    log = a_subscribed_log_of(2, NAME)
    watchers = watchers_of(log)

    def broken(_: Event) -> bool:
        raise ZeroDivisionError

    active, standby = subscribe(watchers, a_watch(LATEST, wants=broken)), subscribe(watchers)
    await receive(active)
    assert (await receive(standby)).role == STANDBY

    with pytest.raises(ZeroDivisionError):
        await receive(active)
    await becomes_active(standby)

    assert operations(await collect(standby, log, 2)) == ["op-1", "op-2"]
    assert watchers.counts(ISSUER) == {}


async def test_when_the_active_watcher_is_cancelled_the_next_one_takes_over_and_no_watcher_is_left() -> None:
    log = a_subscribed_log_of(2, NAME)
    watchers = watchers_of(log)

    async def watch() -> None:
        async with aclosing(subscribe(watchers)) as stream:
            async for _ in stream:
                pass

    active = asyncio.create_task(watch())
    await settle()
    standby = subscribe(watchers)
    assert (await receive(standby)).role == STANDBY

    active.cancel()
    with pytest.raises(asyncio.CancelledError):
        await active
    await becomes_active(standby)
    await standby.aclose()

    assert watchers.counts(ISSUER) == {}


async def test_standbys_take_over_in_the_order_of_their_coming_without_those_that_left() -> None:
    watchers = watchers_of(a_subscribed_log_of(1, NAME))
    streams = [subscribe(watchers) for _ in range(5)]
    for stream in streams:
        await receive(stream)
    await streams.pop(1).aclose()
    assert (await receive(streams[1])).role == STANDBY

    for leaving, successor, later in zip(streams, streams[1:], [*streams[2:], None], strict=False):
        await leaving.aclose()
        await becomes_active(successor)
        if later is not None:
            assert (await receive(later)).role == STANDBY
    await streams[-1].aclose()

    assert watchers.counts(ISSUER) == {}


async def test_watchers_of_other_subscriptions_do_not_wait_for_each_other() -> None:
    watchers = watchers_of(a_subscribed_log_of(1, NAME))
    other_issuer = watchers.watch_subscription(a_watch(LATEST), "ISSUER0002", NAME)

    async with (
        aclosing(subscribe(watchers)) as one,
        aclosing(subscribe(watchers, name="another")) as two,
        aclosing(other_issuer) as three,
    ):
        roles = [(await receive(stream)).role for stream in (one, two, three)]

    assert roles == [ACTIVE, ACTIVE, ACTIVE]


async def test_a_watch_that_fails_to_begin_leaves_no_watcher() -> None:
    log = a_subscribed_log_of(1, NAME)
    watchers = watchers_of(log)
    log.fail()

    with pytest.raises(GatewayError):
        await receive(subscribe(watchers))

    assert watchers.counts(ISSUER) == {}


async def test_a_watch_whose_start_has_expired_makes_no_subscription() -> None:
    log = a_log_of(5)
    log.trim(3)

    with pytest.raises(GatewayError) as caught:
        await receive(subscribe(watchers_of(log), a_watch(Start(after_cursor="0a1b2c3d-1"))))

    assert caught.value.reason == error_pb2.ERROR_REASON_CURSOR_EXPIRED
    assert log.subscriptions == {}


@pytest.mark.parametrize("start", [EARLIEST, Start(latest=True), Start(after_cursor="0a1b2c3d-0"), Start(since_ms=0)])
async def test_a_watch_with_a_start_is_refused_once_the_subscription_has_a_cursor(start: Start) -> None:
    log = a_log_of(2)
    watchers = watchers_of(log)
    async with aclosing(subscribe(watchers, a_watch(start))) as first:
        begin = await receive(first)
        with pytest.raises(GatewayError) as caught:
            await receive(subscribe(watchers, a_watch(start)))

        assert caught.value.reason == error_pb2.ERROR_REASON_SUBSCRIPTION_STARTED
        assert watchers.counts(ISSUER) == {NAME: 1}
        assert log.subscriptions[ISSUER, NAME].fencing_token == begin.fencing_token


async def test_a_subscription_that_another_gateway_makes_at_the_same_moment_stays_where_that_began() -> None:
    class Shared(FakeEventLog):
        async def create_subscription(self, issuer_id: str, name: str, sequence: int, commit_time_ms: int) -> bool:
            await super().create_subscription(issuer_id, name, 1, 0)
            return await super().create_subscription(issuer_id, name, sequence, commit_time_ms)

    log = Shared()
    for number in (1, 2):
        log.put(an_event(number))
    watchers = watchers_of(log)

    with pytest.raises(GatewayError) as caught:
        await receive(subscribe(watchers, a_watch(EARLIEST)))
    async with aclosing(subscribe(watchers)) as stream:
        assert (await receive(stream)).cursor == "0a1b2c3d-1"

    assert caught.value.reason == error_pb2.ERROR_REASON_SUBSCRIPTION_STARTED


async def test_a_standby_whose_committed_cursor_was_trimmed_is_told_so_when_it_takes_over() -> None:
    log = a_subscribed_log_of(5, NAME)
    watchers = watchers_of(log)
    await log.commit(ISSUER, NAME, 1, 0)
    active, standby = subscribe(watchers), subscribe(watchers)
    await receive(active)
    await receive(standby)
    log.trim(3)

    await active.aclose()
    with pytest.raises(GatewayError) as caught:
        await becomes_active(standby)

    assert caught.value.reason == error_pb2.ERROR_REASON_CURSOR_EXPIRED
    assert caught.value.metadata == {"earliest_cursor": "0a1b2c3d-3"}


async def test_each_take_over_has_a_larger_fence_and_neither_a_standby_nor_a_watch_without_a_name_has_one() -> None:
    log = a_subscribed_log_of(2, NAME)
    watchers = watchers_of(log)
    active, standby = subscribe(watchers), subscribe(watchers)

    begin, batch = await receive(active), await receive(active)
    waiting = await receive(standby)
    await active.aclose()
    taken_over = await becomes_active(standby)
    later = await collect(standby, log, 2)
    unnamed = await collect(watchers.watch(a_watch()), log, 2)

    assert begin.fencing_token == batch.fencing_token > 0
    assert {waiting.fencing_token, *(message.fencing_token for message in unnamed)} == {0}
    assert {taken_over.fencing_token, *(message.fencing_token for message in later)} == {begin.fencing_token + 1}


async def test_while_another_gateway_has_the_active_watcher_the_first_one_here_stands_by() -> None:
    log = a_subscribed_log_of(3, NAME)
    leases = FakeSubscriptionLeases()
    leases.take_elsewhere(NAME)
    watchers = Watchers(log, leases)
    first, second = subscribe(watchers), subscribe(watchers)

    beats = [await receive(stream) for stream in (first, second, first, second)]
    await log.commit(ISSUER, NAME, 1, 0)
    leases.free_elsewhere(NAME)
    begin = await becomes_active(first)

    assert {beat.role for beat in beats} == {STANDBY}
    assert begin.cursor == "0a1b2c3d-1"
    assert (await receive(second)).role == STANDBY
    assert watchers.failover.standby == 1
    await first.aclose()
    await second.aclose()


async def test_a_free_lease_is_taken_before_the_next_heartbeat() -> None:
    leases = FakeSubscriptionLeases()
    leases.take_elsewhere(NAME)
    async with aclosing(
        subscribe(Watchers(a_subscribed_log_of(1, NAME), leases), a_watch(LATEST, heartbeat_seconds=300))
    ) as stream:
        assert (await receive(stream)).role == STANDBY

        leases.free_elsewhere(NAME)

        assert (await receive(stream)).role == ACTIVE


async def test_a_watcher_that_was_held_up_finds_its_lease_lost_before_it_sends_anything() -> None:
    log = a_subscribed_log_of(300, NAME)
    leases = FakeSubscriptionLeases()
    async with aclosing(subscribe(Watchers(log, leases), a_watch(LATEST, max_batch_size=100))) as stream:
        assert operations([await receive(stream), await receive(stream)])[-1] == "op-100"

        # Between two batches of one read: nothing was asked of the log meanwhile, and nobody has told it.
        leases.take_elsewhere(NAME)
        late = await receive(stream)

        assert (late.role, late.fencing_token, operations([late])) == (STANDBY, 0, [])


async def test_a_watcher_that_waits_is_told_at_once_that_its_lease_is_lost_and_takes_over_again() -> None:
    log = a_subscribed_log_of(2, NAME)
    leases = FakeSubscriptionLeases()
    async with aclosing(subscribe(Watchers(log, leases), a_watch(LATEST, heartbeat_seconds=300))) as stream:
        begin, _ = await receive(stream), await receive(stream)
        waiting = asyncio.create_task(receive(stream))
        await settle()

        leases.take_elsewhere(NAME)
        leases.tell_losses()

        assert (await waiting).role == STANDBY
        await log.commit(ISSUER, NAME, 1, 0)
        leases.free_elsewhere(NAME)
        again = await collect(stream, log, 2)
        assert {message.role for message in again} == {ACTIVE}
        assert min(message.fencing_token for message in again) > begin.fencing_token
        assert operations(again) == ["op-2"]


async def test_a_lease_that_is_lost_while_the_log_is_read_does_not_wait_for_a_heartbeat() -> None:
    leases = FakeSubscriptionLeases()

    class LosingLog(FakeEventLog):
        is_read_again = False

        async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
            if self.is_read_again:
                leases.take_elsewhere(NAME)
                leases.tell_losses()
            return await super().read(after, limit, scope)

    log = LosingLog()
    async with aclosing(subscribe(Watchers(log, leases), a_watch(LATEST, heartbeat_seconds=300))) as stream:
        await receive(stream)
        log.is_read_again = True

        assert (await receive(stream)).role == STANDBY


async def test_only_the_first_watcher_of_a_gateway_competes() -> None:
    leases = FakeSubscriptionLeases()
    leases.take_elsewhere(NAME)
    watchers = Watchers(a_subscribed_log_of(1, NAME), leases)
    first, second = subscribe(watchers), subscribe(watchers)
    await receive(first)
    asked = leases.attempts
    for _ in range(3):
        await receive(second)

    assert leases.attempts == asked
    await first.aclose()
    await receive(second)
    assert leases.attempts > asked
    await second.aclose()
    assert leases.held == {}


async def test_watchers_of_all_gateways_are_counted() -> None:
    leases = FakeSubscriptionLeases()
    leases.elsewhere = {NAME: 2, "another": 1}
    watchers = Watchers(a_subscribed_log_of(1, NAME), leases)

    async with aclosing(subscribe(watchers)) as stream:
        await receive(stream)
        assert watchers.counts(ISSUER) == {NAME: 3, "another": 1}

    assert watchers.counts(ISSUER) == {NAME: 2, "another": 1}


async def test_a_subscription_that_another_gateways_watcher_has_is_in_use() -> None:
    log = a_subscribed_log_of(1, NAME)
    await log.commit(ISSUER, NAME, 1, 0)
    leases = FakeSubscriptionLeases()
    leases.elsewhere = {NAME: 2}
    backfills = OrderedBackfills(Backfill(FakeOperationHistory(), log, calls_per_second=5, retention_seconds=1))
    servicer = NotificationServicer(log, Watchers(log, leases), backfills)
    context: Any = None  # It is of no use to them.

    got = await servicer.GetSubscription(
        notification.GetSubscriptionRequest(issuer_id=ISSUER, subscription=NAME), context
    )
    listed = await servicer.ListSubscriptions(notification.ListSubscriptionsRequest(issuer_id=ISSUER), context)
    delete = notification.DeleteSubscriptionRequest(issuer_id=ISSUER, subscription=NAME)
    with pytest.raises(GatewayError) as caught:
        await servicer.DeleteSubscription(delete, context)
    leases.elsewhere = {}
    await servicer.DeleteSubscription(delete, context)

    assert got.subscription.watcher_count == 2
    assert [each.watcher_count for each in listed.subscriptions] == [2]
    assert caught.value.reason == error_pb2.ERROR_REASON_SUBSCRIPTION_IN_USE
    assert log.subscriptions == {}
