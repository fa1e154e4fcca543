"""Resets of named subscriptions, against watchers that are active, take over or commit at the same time."""

from contextlib import aclosing

import pytest

from gateway.errors import GatewayError
from gateway.notifications.start import Start
from gateway.notifications.watch import Watchers
from gateway.ports import StoredSubscription
from issuer.common.v1 import error_pb2
from issuer.notification.v1 import messages_pb2 as notification
from tests.fakes import ISSUER, FakeEventLog, FakeSubscriptionLeases
from tests.unit.notifications.watches import EARLIEST, LATEST, a_log_of, a_watch, operations, receive, watchers_of

NAME = "bookkeeping"
IN_USE = error_pb2.ERROR_REASON_SUBSCRIPTION_IN_USE
STALE = error_pb2.ERROR_REASON_FENCING_TOKEN_STALE


async def reset(watchers: Watchers, target: Start, fencing_token: int = 0) -> str:
    return await watchers.subscriptions.reset(ISSUER, NAME, target, fencing_token)


async def commit(watchers: Watchers, done: str, fencing_token: int = 0) -> str:
    return await watchers.subscriptions.commit(ISSUER, NAME, done, fencing_token)


async def refused(watchers: Watchers, target: Start, fencing_token: int = 0) -> GatewayError:
    """Have a reset refused, and make sure that it changed nothing."""
    before = await watchers.subscriptions._log.list_subscriptions()
    with pytest.raises(GatewayError) as caught:
        await reset(watchers, target, fencing_token)
    assert await watchers.subscriptions._log.list_subscriptions() == before
    return caught.value


@pytest.mark.parametrize(
    ("target", "place"),
    [
        (EARLIEST, 2),
        (LATEST, 9),
        (Start(after_cursor="0a1b2c3d-4"), 4),
        (Start(since_ms=6_000), 5),
        (Start(since_ms=1_000), 2),
        (Start(since_ms=60_000), 9),
    ],
)
@pytest.mark.parametrize("committed", [None, 3, 7])
async def test_a_reset_moves_a_cursor_anywhere(target: Start, place: int, committed: int | None) -> None:
    log = a_log_of(9)
    log.trim(2)
    watchers = watchers_of(log)
    if committed is not None:
        await log.commit(ISSUER, NAME, committed, 0)

    for _ in range(2):
        assert await reset(watchers, target) == f"0a1b2c3d-{place}"

    async with aclosing(watchers.watch_subscription(a_watch(LATEST), ISSUER, NAME)) as stream:
        assert (await receive(stream)).cursor == f"0a1b2c3d-{place}"


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        ("0a1b2c3d-1", error_pb2.ERROR_REASON_CURSOR_EXPIRED),
        ("0a1b2c3d-10", error_pb2.ERROR_REASON_CURSOR_UNKNOWN),
        ("00000000-3", error_pb2.ERROR_REASON_CURSOR_UNKNOWN),
        ("x", error_pb2.ERROR_REASON_CURSOR_UNKNOWN),
    ],
)
@pytest.mark.parametrize("committed", [None, 3])
async def test_a_place_that_is_not_in_the_log_is_refused(
    cursor: str, reason: "error_pb2.ErrorReason.ValueType", committed: int | None
) -> None:
    log = a_log_of(9)
    log.trim(2)
    if committed is not None:
        await log.commit(ISSUER, NAME, committed, 0)

    error = await refused(watchers_of(log), Start(after_cursor=cursor))

    assert error.reason == reason
    if reason == error_pb2.ERROR_REASON_CURSOR_EXPIRED:
        assert error.metadata == {"earliest_cursor": "0a1b2c3d-2"}


async def test_a_subscription_with_an_active_watcher_is_reset_by_that_watcher_alone() -> None:
    log = a_log_of(9)
    watchers = watchers_of(log)
    async with aclosing(watchers.watch_subscription(a_watch(LATEST), ISSUER, NAME)) as first:
        left = await receive(first)
    async with aclosing(watchers.watch_subscription(a_watch(LATEST, heartbeat_seconds=0.02), ISSUER, NAME)) as stream:
        begin = await receive(stream)

        assert (await refused(watchers, EARLIEST)).reason == IN_USE
        for token in (left.fencing_token, begin.fencing_token - 1, begin.fencing_token + 1):
            assert (await refused(watchers, EARLIEST, token)).reason == STALE
        assert await reset(watchers, EARLIEST, begin.fencing_token) == "0a1b2c3d-0"

        # Its own stream goes on where it is, and cannot undo the reset.
        assert (await receive(stream)).cursor == "0a1b2c3d-9"
        with pytest.raises(GatewayError) as caught:
            await commit(watchers, "0a1b2c3d-9", begin.fencing_token)
        assert caught.value.reason == STALE
        assert log.subscriptions[ISSUER, NAME].committed == 0

    async with aclosing(watchers.watch_subscription(a_watch(LATEST), ISSUER, NAME)) as again:
        after = await receive(again)
        assert after.cursor == "0a1b2c3d-0"
        assert operations([await receive(again)]) == [f"op-{number}" for number in range(1, 10)]
        assert await commit(watchers, "0a1b2c3d-4", after.fencing_token) == "0a1b2c3d-4"


async def test_a_subscription_whose_active_watcher_is_at_another_gateway_is_in_use() -> None:
    log, leases = a_log_of(9), FakeSubscriptionLeases()
    leases.take_elsewhere(NAME)
    watchers = Watchers(log, leases)

    assert (await refused(watchers, EARLIEST)).reason == IN_USE
    # A watcher that only stands by is no hindrance.
    async with aclosing(watchers.watch_subscription(a_watch(LATEST, heartbeat_seconds=0.02), ISSUER, NAME)) as stream:
        assert (await receive(stream)).role == notification.WATCHER_ROLE_STANDBY
        leases._taken_elsewhere.remove(NAME)
        assert await reset(watchers, EARLIEST) == "0a1b2c3d-0"
        leases._taken_elsewhere.add(NAME)
        leases.free_elsewhere(NAME)
        while (message := await receive(stream)).role == notification.WATCHER_ROLE_STANDBY:
            pass
        assert message.cursor == "0a1b2c3d-0"


async def test_a_late_commit_of_a_watcher_that_is_gone_does_not_undo_a_reset() -> None:
    log = a_log_of(9)
    watchers = watchers_of(log)
    async with aclosing(watchers.watch_subscription(a_watch(LATEST), ISSUER, NAME)) as stream:
        begin = await receive(stream)
    await reset(watchers, EARLIEST)

    with pytest.raises(GatewayError) as caught:
        await commit(watchers, begin.cursor, begin.fencing_token)

    assert caught.value.reason == STALE
    assert log.subscriptions[ISSUER, NAME].committed == 0


async def test_a_watcher_that_becomes_active_between_the_check_and_the_reset_keeps_its_place() -> None:
    class Busy(FakeSubscriptionLeases):
        """Another gateway's watcher becomes active right after each check."""

        async def is_taken(self, issuer_id: str, name: str) -> bool:
            taken = await super().is_taken(issuer_id, name)
            await log.begin_watch(issuer_id, name, 77)
            return taken

    log = a_log_of(9)
    await log.commit(ISSUER, NAME, 5, 0)
    watchers = Watchers(log, Busy())

    with pytest.raises(GatewayError) as caught:
        await reset(watchers, EARLIEST)

    assert caught.value.reason == IN_USE
    assert log.subscriptions[ISSUER, NAME] == StoredSubscription(ISSUER, NAME, 5, 0, fencing_token=77)


async def test_a_subscription_that_is_deleted_while_its_watcher_becomes_active_is_made_again() -> None:
    class Deleting(FakeEventLog):
        is_deleted = False

        async def begin_watch(self, issuer_id: str, name: str, fencing_token: int) -> StoredSubscription | None:
            if not self.is_deleted:
                self.is_deleted = await self.delete_subscription(issuer_id, name)
            return await super().begin_watch(issuer_id, name, fencing_token)

    log = Deleting()
    async with aclosing(watchers_of(log).watch_subscription(a_watch(EARLIEST), ISSUER, NAME)) as stream:
        begin = await receive(stream)

    assert log.is_deleted
    assert log.subscriptions[ISSUER, NAME].fencing_token == begin.fencing_token > 0
