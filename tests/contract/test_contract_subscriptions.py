"""NotificationService: named subscriptions, their cursors and their watchers."""

import asyncio
import sqlite3
from collections.abc import Awaitable
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.formats.page_tokens import PageTokens
from issuer.notification.v1 import messages_pb2 as notification
from tests.contract.watching import EARLIEST, end_of_log, later, notify, watching
from tests.running import SECOND_ISSUER, Failure, Running, failure_of

_TICK = Duration(nanos=100_000_000)
_LONG = "x" * 65
_ACTIVE, _STANDBY = notification.WATCHER_ROLE_ACTIVE, notification.WATCHER_ROLE_STANDBY
_COMPLETE: dict[str, dict[str, str]] = {
    "CommitCursor": {"subscription": "billing", "cursor": "00000000-0"},
    "GetSubscription": {"subscription": "billing"},
    "ListSubscriptions": {"page_token": ""},
    "ResetSubscription": {"subscription": "billing", "after_cursor": "00000000-0"},
    "DeleteSubscription": {"subscription": "billing"},
}
"""The fields that each rpc needs."""
every_rpc = pytest.mark.parametrize("name", _COMPLETE)


async def _call(running: Running, name: str, **fields: Any) -> Any:
    request = getattr(notification, f"{name}Request")(**fields)
    return await getattr(running.notifications, name)(request, timeout=10)


async def _commit(running: Running, cursor: str, **fields: Any) -> str:
    response = await _call(running, "CommitCursor", **({"subscription": "billing"} | fields), cursor=cursor)
    return str(response.committed_cursor)


async def _get(running: Running, **fields: Any) -> notification.Subscription:
    response = await _call(running, "GetSubscription", **({"subscription": "billing"} | fields))
    assert isinstance(response, notification.GetSubscriptionResponse)
    return response.subscription


async def _refused(call: Awaitable[object], code: grpc.StatusCode, reason: str) -> Failure:
    failure = await failure_of(call)
    assert (failure.code, failure.reason) == (code, reason)
    return failure


async def _cursors(running: Running, count: int) -> list[str]:
    """Send notifications as D1; return their cursors."""
    begin = await end_of_log(running)
    await notify(running, *["card-1"] * count)
    async with watching(running, after_cursor=begin) as watch:
        return [each.cursor for each in await watch.take(count)]


async def _until_watched_by(running: Running, watchers: int, subscription: str = "billing") -> None:
    async with asyncio.timeout(10):
        # A watcher's end sends no event.
        while (await _get(running, subscription=subscription)).watcher_count != watchers:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
async def _no_subscriptions(running: Running) -> None:
    """Delete what the test before left at the shared gateway."""
    for left in (await _call(running, "ListSubscriptions", page_size=1000)).subscriptions:
        await _until_watched_by(running, 0, left.name)
        await _call(running, "DeleteSubscription", subscription=left.name)


async def test_the_first_commit_makes_the_subscription(running: Running) -> None:
    first, second, third = await _cursors(running, 3)
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert await _commit(running, second) == second
    subscription = await _get(running)
    assert (subscription.issuer_id, subscription.name) == ("SANDBOX001", "billing")
    assert (subscription.committed_cursor, subscription.lag, subscription.watcher_count) == (second, 1, 0)
    assert before < subscription.commit_time.ToDatetime(UTC) < datetime.now(UTC) + timedelta(seconds=1)
    assert await _commit(running, first) == second
    assert await _commit(running, third) == third
    assert (await _get(running)).lag == 0


async def test_the_first_watcher_makes_the_subscription_which_misses_nothing_after_where_its_watch_begins(
    running: Running,
) -> None:
    await notify(running, "card-1", "card-2")
    async with watching(running, subscription="billing") as watch:
        begins = (await watch.batch()).cursor
        subscription = await _get(running)
    assert (subscription.committed_cursor, subscription.lag, subscription.watcher_count) == (begins, 0, 1)
    # Between two watches, without a commit.
    sent = await notify(running, "card-1")
    async with watching(running, subscription="billing") as watch:
        assert await watch.operation_ids(1) == sent


async def test_only_the_first_watch_of_a_subscription_may_say_where_it_starts(running: Running) -> None:
    first, second = await _cursors(running, 2)
    async with watching(running, subscription="billing", after_cursor=first) as watch:
        assert (await watch.batch()).cursor == first
        # Another one stands by, and the first one may come back: neither says where.
        for start in ({"position": EARLIEST}, {"position": 0}, {"after_cursor": first}, {"since_time": Timestamp()}):
            async with watching(running, subscription="billing", **start) as other:
                failure = await other.failure()
            assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SUBSCRIPTION_STARTED")
            assert "ResetSubscription" in failure.message
        assert (await watch.take(1))[0].cursor == second
    subscription = await _get(running)
    assert (subscription.committed_cursor, subscription.lag) == (first, 1)
    async with watching(running, subscription="billing") as watch:
        assert (await watch.take(1))[0].cursor == second


async def test_of_watches_that_start_at_the_same_time_one_says_where(running: Running) -> None:
    first, second = await _cursors(running, 2)
    async with AsyncExitStack() as stack:
        watches = [
            await stack.enter_async_context(watching(running, subscription="billing", after_cursor=cursor))
            for cursor in (first, second, first, second)
        ]
        begun = await asyncio.gather(*(watch.batch() for watch in watches), return_exceptions=True)

        (batch,) = (each for each in begun if isinstance(each, notification.WatchNotificationsResponse))
        assert (await _get(running)).committed_cursor == batch.cursor
        assert {each.code() for each in begun if isinstance(each, grpc.aio.AioRpcError)} == {
            grpc.StatusCode.FAILED_PRECONDITION
        }


async def test_a_start_that_is_refused_makes_no_subscription(running: Running) -> None:
    for cursor in ("x", "00000000-0"):
        async with watching(running, subscription="billing", after_cursor=cursor) as watch:
            assert (await watch.failure()).reason == "CURSOR_UNKNOWN"
    await _refused(_get(running), grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")


async def test_a_second_watcher_stands_by_and_takes_over_at_the_committed_cursor(running: Running) -> None:
    async with watching(running, subscription="billing", heartbeat_interval=_TICK) as active:
        # The first watcher is the active one; it disconnects in the middle of this test.
        first = await active.batch()
        assert first.role == _ACTIVE
        async with watching(running, subscription="billing", heartbeat_interval=_TICK) as successor:
            assert (await successor.batch()).role == _STANDBY
            sent = await notify(running, "card-1", "card-2", "card-1")
            received = await active.take(3)
            assert [each.three_ds_operation.operation_id for each in received] == sent
            await _commit(running, received[0].cursor)
            assert (await _get(running)).watcher_count == 2
            beat = await successor.batch()
            assert (beat.role, list(beat.notifications), beat.fencing_token) == (_STANDBY, [], 0)
            active.leave()
            while (batch := await successor.batch()).role == _STANDBY:
                assert not batch.notifications
            # It begins at the commit: uncommitted notifications are delivered again.
            assert batch.cursor == received[0].cursor
            assert batch.fencing_token > first.fencing_token > 0
            assert await successor.operation_ids(2) == sent[1:]
            assert (await _get(running)).watcher_count == 1
    await _until_watched_by(running, 0)


async def test_watchers_of_different_subscriptions_do_not_wait_for_each_other(running: Running) -> None:
    async with watching(running, subscription="billing") as one, watching(running, subscription="fraud") as two:
        assert [(await watch.batch()).role for watch in (one, two)] == [_ACTIVE, _ACTIVE]
        sent = await notify(running, "card-1")
        assert await one.operation_ids(1) == await two.operation_ids(1) == sent


async def test_one_name_is_another_subscription_for_each_issuer(running_two: Running) -> None:
    await notify(running_two, "card-1")
    async with watching(running_two, issuer_id="SANDBOX001", position=EARLIEST) as watch:
        (got,) = await watch.take(1)
    await _commit(running_two, got.cursor, issuer_id="SANDBOX001")
    await _refused(_get(running_two, issuer_id=SECOND_ISSUER), grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")
    listed = await _call(running_two, "ListSubscriptions", issuer_id=SECOND_ISSUER)
    assert not listed.subscriptions
    assert (await _get(running_two, issuer_id="SANDBOX001")).committed_cursor == got.cursor


async def test_subscriptions_are_listed_by_name(running: Running) -> None:
    assert not (await _call(running, "ListSubscriptions")).subscriptions
    (cursor,) = await _cursors(running, 1)
    for name in ("fraud", "Billing", "a.b-c_d", "billing", "x" * 64):
        await _commit(running, cursor, subscription=name)
    listed = (await _call(running, "ListSubscriptions")).subscriptions
    names = [each.name for each in listed]
    assert names == sorted(names)
    assert set(names) == {"fraud", "Billing", "a.b-c_d", "billing", "x" * 64}
    assert all((each.committed_cursor, each.lag, each.watcher_count) == (cursor, 0, 0) for each in listed)


async def test_a_page_goes_on_after_the_last_name_whatever_is_made_and_deleted_meanwhile(running: Running) -> None:
    (cursor,) = await _cursors(running, 1)
    for name in "bdfhj":
        await _commit(running, cursor, subscription=name)
    first = await _call(running, "ListSubscriptions", page_size=2)
    # Before the end of the page, its last name itself, and behind it.
    await _commit(running, cursor, subscription="a")
    for name in "df":
        await _call(running, "DeleteSubscription", subscription=name)
    await _commit(running, cursor, subscription="g")
    second = await _call(running, "ListSubscriptions", page_size=2, page_token=first.next_page_token)
    again = await _call(running, "ListSubscriptions", page_size=3, page_token=first.next_page_token)
    last = await _call(running, "ListSubscriptions", page_token=second.next_page_token)

    assert ["".join(each.name for each in page.subscriptions) for page in (first, second, again, last)] == [
        *("bd", "gh", "ghj", "j")
    ]
    assert [bool(page.next_page_token) for page in (first, second, again, last)] == [True, True, False, False]


async def test_a_page_has_a_hundred_subscriptions_unless_another_size_is_requested(running: Running) -> None:
    (cursor,) = await _cursors(running, 1)
    names = [f"{number:03}" for number in range(101)]
    await asyncio.gather(*(_commit(running, cursor, subscription=name) for name in names))

    async def page(**fields: Any) -> list[str]:
        return [each.name for each in (await _call(running, "ListSubscriptions", **fields)).subscriptions]

    assert await page() == await page(page_size=100) == names[:100]
    assert await page(page_size=1000) == names
    assert await page(page_size=1001) == names, "what exceeds the largest size is reduced to it"


async def test_a_page_token_is_good_for_the_list_of_its_issuer_only(running_two: Running) -> None:
    cursor = await end_of_log(running_two, issuer_id="SANDBOX001")
    for name in "ab":
        await _commit(running_two, cursor, issuer_id="SANDBOX001", subscription=name)
    token = (await _call(running_two, "ListSubscriptions", issuer_id="SANDBOX001", page_size=1)).next_page_token
    for fields in (
        {"issuer_id": SECOND_ISSUER, "page_token": token},
        *(
            {"issuer_id": "SANDBOX001", "page_token": each}
            for each in (token[:-1], token + "A", "next", "bm90IG91cnM", "\xe9", PageTokens("X", ()).encode(b"a"))
        ),
    ):
        failure = await _refused(
            _call(running_two, "ListSubscriptions", **fields), grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"
        )
        assert (set(failure.violations), failure.outcome) == ({"page_token"}, "NOT_SENT")


async def test_a_watched_subscription_is_deleted_only_once_its_watchers_have_gone(running: Running) -> None:
    in_use = (grpc.StatusCode.FAILED_PRECONDITION, "SUBSCRIPTION_IN_USE")
    async with (
        watching(running, subscription="billing") as active,
        watching(running, subscription="billing") as standby,
    ):
        await active.batch()
        await standby.batch()
        failure = await _refused(_call(running, "DeleteSubscription", subscription="billing"), *in_use)
        assert failure.message == "The subscription billing has a watcher: stop the watcher first."
        active.leave()
        await _until_watched_by(running, 1)
        await _refused(_call(running, "DeleteSubscription", subscription="billing"), *in_use)
    await _until_watched_by(running, 0)
    await _call(running, "DeleteSubscription", subscription="billing")
    await _refused(_get(running), grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")


async def test_deleting_forgets_the_cursor_and_keeps_the_notifications(running: Running) -> None:
    cursors = await _cursors(running, 2)
    await _commit(running, cursors[1])
    await _call(running, "DeleteSubscription", subscription="billing")
    async with watching(running, subscription="billing", position=EARLIEST) as watch:
        begin = (await watch.batch()).cursor
        every = await watch.take(int(cursors[1].partition("-")[2]))
    assert begin.endswith("-0")
    assert [each.cursor for each in every[-2:]] == cursors


@pytest.mark.parametrize("name", ["GetSubscription", "DeleteSubscription"])
async def test_a_subscription_that_was_never_made_is_not_found(running: Running, name: str) -> None:
    call = _call(running, name, subscription="billing")
    failure = await _refused(call, grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")
    assert failure.message.startswith("Issuer SANDBOX001 has no subscription billing: its first watch, CommitCursor")


async def test_a_cursor_of_no_such_log_cannot_be_committed(running: Running) -> None:
    end = await end_of_log(running)
    for cursor in ("x", "00000000-0", later(end, 1), end.replace("-", "--")):
        await _refused(_commit(running, cursor), grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_UNKNOWN")
    await _refused(_get(running), grpc.StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND")


@every_rpc
async def test_a_wrong_field_of_a_call_is_named(running: Running, name: str) -> None:
    wrong = {
        "issuer_id": ("SHORT", "ELEVEN_CHAR"),
        "subscription": ("", "a b", _LONG),
        "cursor": ("", _LONG),
        "after_cursor": ("", _LONG),
        "page_token": ("x" * 513,),
    }
    for field in ("issuer_id", *_COMPLETE[name]):
        for value in wrong[field]:
            call = _call(running, name, **(_COMPLETE[name] | {field: value}))
            failure = await _refused(call, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
            assert (set(failure.violations), failure.outcome) == ({field}, "NOT_SENT")


async def test_what_cannot_be_stored_now_is_to_be_tried_again(running: Running) -> None:
    (cursor,) = await _cursors(running, 1)
    with closing(sqlite3.connect(running.event_log, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for call in (_commit(running, cursor), _call(running, "DeleteSubscription", subscription="billing")):
            failure = await _refused(call, grpc.StatusCode.UNAVAILABLE, "EVENT_LOG_UNAVAILABLE")
            assert (failure.outcome, failure.retry_seconds) == ("REJECTED", 1.0)
        async with watching(running, subscription="billing") as watch:
            assert (await watch.failure()).reason == "EVENT_LOG_UNAVAILABLE"
        # Reading continues meanwhile.
        assert not (await _call(running, "ListSubscriptions")).subscriptions
    assert await _commit(running, cursor) == cursor
