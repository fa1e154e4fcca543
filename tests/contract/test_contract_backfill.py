"""NotificationService: backfills on demand, and how watchers get what they recover."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.settings import BackfillSettings, Settings
from issuer.common.v1 import error_pb2
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.common.pki import STRANGER
from sandbox.d1.model.contract import Operation
from sandbox.d1.model.notification import Notification
from sandbox.gateway import channel
from tests.contract.test_contract_access import as_stranger, granting
from tests.contract.watching import end_of_log, watching
from tests.running import Failure, Running, failure_of, running_gateway, settings_for

_CODE = grpc.StatusCode
_NOW = datetime.now(UTC).replace(microsecond=0)
_SINCE = _NOW - timedelta(hours=2)
_TICK = Duration(nanos=100_000_000)
_LIST = Operation.LIST_THREE_DS_OPERATIONS


def _quick(used: Settings) -> Settings:
    return used.model_copy(update={"backfill": BackfillSettings(calls_per_second=100)})


@pytest.fixture(scope="module")
async def shared_gateway(shared_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """The module's gateway, which calls D1 often enough not to hold up the tests."""
    used = settings_for(shared_sandbox, tmp_path_factory.mktemp("gateway"))
    async with running_gateway(shared_sandbox, _quick(used)) as started:
        yield started


@pytest.fixture
async def begin(running: Running) -> str:
    """The end of the shared gateway's log, where a test begins to watch."""
    return await end_of_log(running)


def _request(*card_ids: str, since: datetime = _SINCE, **fields: Any) -> notification.BackfillNotificationsRequest:
    request = notification.BackfillNotificationsRequest(card_ids=card_ids, **fields)
    request.since_time.FromDatetime(since)
    return request


async def _backfilled(
    running: Running, request: notification.BackfillNotificationsRequest
) -> list[notification.BackfillNotificationsResponse]:
    async with asyncio.timeout(30):
        return [message async for message in running.notifications.BackfillNotifications(request)]


async def _counts(running: Running, *card_ids: str) -> list[tuple[int, int, int, int]]:
    """Return what became of cards: operations, recovered, differing, unusable."""
    cards = [message.card for message in await _backfilled(running, _request(*card_ids))]
    assert [card.card_id for card in cards] == [*card_ids]
    assert not any(card.HasField("error") for card in cards)
    return [(each.operation_count, each.recovered_count, each.differing_count, each.unusable_count) for each in cards]


def _happened(sandbox: Sandbox, card_id: str, operation_id: str, minutes: int, **fields: Any) -> Notification:
    """Let an operation happen that D1 does not notify."""
    operation = Notification(card_id, operation_id, _NOW - timedelta(minutes=minutes), **fields)
    sandbox.history.add(operation)
    return operation


async def test_what_d1_could_not_deliver_is_fetched_once_and_reaches_watchers_marked(
    running: Running, begin: str
) -> None:
    sandbox = running.sandbox
    for card_id in ("card-active", "card-suspended"):
        _happened(sandbox, card_id, "op_older", 180)
        _happened(sandbox, card_id, "op_lost_1", 60, consumer_id="consumer-1", details={"acsTransactionId": "acs-1"})
        arrived = _happened(sandbox, card_id, "op_arrived", 30)
        _happened(sandbox, card_id, "op_lost_2", 20)
        assert await sandbox.notifier.send(arrived) == 204
    fetched = time.time()

    assert await _counts(running, "card-active", "card-suspended") == [(3, 2, 0, 0)] * 2
    assert await _counts(running, "card-suspended", "card-active") == [(3, 0, 0, 0)] * 2

    async with watching(running, after_cursor=begin) as watch:
        got = await watch.take(6)
    for card_id in ("card-active", "card-suspended"):
        of_card = [each for each in got if each.card_id == card_id]
        assert [(each.three_ds_operation.operation_id, each.recovered) for each in of_card] == [
            ("op_arrived", False),
            ("op_lost_1", True),
            ("op_lost_2", True),
        ]
    lost = next(each for each in got if each.recovered)
    assert (lost.issuer_id, lost.consumer_id) == (sandbox.issuer_id, "consumer-1")
    assert lost.three_ds_operation.details.acs_trans_id == "acs-1"
    assert lost.three_ds_operation.start_time.ToDatetime(UTC) == _NOW - timedelta(hours=1)
    assert fetched - 1 < lost.receive_time.ToDatetime(UTC).timestamp() < time.time() + 1


async def test_what_d1_notifies_after_it_was_recovered_is_a_duplicate(running: Running, begin: str) -> None:
    late = _happened(running.sandbox, "card-active", "op_late", 5)

    assert await _counts(running, "card-active") == [(1, 1, 0, 0)]
    assert await running.sandbox.notifier.send(late) == 204
    assert await running.sandbox.notifier.send(Notification("card-active", "op_next", _NOW)) == 204

    async with watching(running, after_cursor=begin) as watch:
        assert await watch.operation_ids(2) == ["op_late", "op_next"]


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({}, ["notified", "lost*", "last"]),
        ({"recovered": True}, ["lost*"]),
        ({"recovered": False}, ["notified", "last"]),
        ({"recovered": False, "card_ids": ["card-active"]}, ["notified"]),
    ],
)
async def test_watchers_take_recovered_notifications_alone_or_leave_them_out(
    running: Running, begin: str, filter_: dict[str, Any], expected: list[str]
) -> None:
    tag = uuid4().hex
    running.sandbox.history.add(Notification("card-active", f"{tag}_lost", _NOW - timedelta(minutes=9)))
    async with watching(running, filter=filter_, heartbeat_interval=_TICK) as live:
        await live.batch()
        assert await running.sandbox.notifier.send(Notification("card-active", f"{tag}_notified", _NOW)) == 204
        assert await _counts(running, "card-active") == [(1, 1, 0, 0)]
        assert await running.sandbox.notifier.send(Notification("card-suspended", f"{tag}_last", _NOW)) == 204
        end = await end_of_log(running)
        seen = await live.take(len(expected))
        while (beat := await live.batch()).cursor != end:
            assert not beat.notifications
    async with watching(running, filter=filter_, after_cursor=begin) as replayed:
        again = await replayed.take(len(expected))

    for got in (seen, again):
        ids = [each.three_ds_operation.operation_id + "*" * each.recovered for each in got]
        assert ids == [f"{tag}_{word}" for word in expected]


async def test_a_subscription_that_has_passed_that_time_gets_what_is_recovered_after_its_cursor(
    running: Running, begin: str
) -> None:
    _happened(running.sandbox, "card-active", "op_hours_ago", 110)
    assert await running.sandbox.notifier.send(Notification("card-active", "op_today", _NOW)) == 204
    async with watching(running, subscription="ledger", after_cursor=begin) as watch:
        (today,) = await watch.take(1)
    await running.notifications.CommitCursor(
        notification.CommitCursorRequest(subscription="ledger", cursor=today.cursor), timeout=10
    )

    assert await _counts(running, "card-active") == [(1, 1, 0, 0)]

    only = {"recovered": True}
    async with watching(running, subscription="ledger", filter=only) as watch:
        assert await watch.operation_ids(1) == ["op_hours_ago"]


async def test_another_state_than_the_notified_one_is_kept_too_and_what_has_no_id_is_counted(
    running: Running, begin: str
) -> None:
    said = Notification("card-active", "op_both", _NOW - timedelta(minutes=8), status="PENDING")
    assert await running.sandbox.notifier.send(said) == 204
    _happened(running.sandbox, "card-active", "op_both", 8, status="FAILED")
    _happened(running.sandbox, "card-active", "", 7)

    assert await _counts(running, "card-active") == [(2, 1, 1, 1)]

    async with watching(running, after_cursor=begin) as watch:
        states = [(each.three_ds_operation.status_text, each.recovered) for each in await watch.take(2)]
    assert states == [("PENDING", False), ("FAILED", True)]


async def test_a_card_that_cannot_be_read_says_why_and_the_others_go_on(running: Running, begin: str) -> None:
    _happened(running.sandbox, "card-active", "op_of_another", 6)
    running.sandbox.faults.add(Fault(_LIST, status=200, body='{"operations": 7}'))

    broken, unknown, done = [
        message.card
        for message in await _backfilled(running, _request("card-suspended", "card-unknown", "card-active"))
    ]

    assert broken.error.detail.reason == error_pb2.ERROR_REASON_UPSTREAM_CONTRACT
    detail = unknown.error.detail
    assert (detail.reason, detail.upstream, detail.upstream_status) == (
        error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND,
        "d1",
        404,
    )
    assert detail.correlation_id
    assert unknown.error.message
    assert (unknown.recovered_count, done.recovered_count, done.HasField("error")) == (0, 1, False)
    async with watching(running, after_cursor=begin) as watch:
        (got,) = await watch.take(1)
    assert got.correlation_id == detail.correlation_id, "that of the fetch, which is that of the rpc"


async def test_a_pause_that_d1_asks_for_is_told_and_the_card_is_done_after_it(running: Running) -> None:
    _happened(running.sandbox, "card-active", "op_after_the_pause", 5)
    running.sandbox.faults.add(Fault(_LIST, status=429, headers={"Retry-After": "1"}))
    begun = time.time()

    pause, done = await _backfilled(running, _request("card-active"))

    assert pause.pause.reason == error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED
    assert begun + 0.9 < pause.pause.resume_time.ToDatetime(UTC).timestamp() <= time.time() + 1
    assert (done.card.card_id, done.card.recovered_count) == ("card-active", 1)
    assert time.time() - begun >= 1


async def _refused(running: Running, request: notification.BackfillNotificationsRequest) -> Failure:
    return await failure_of(_backfilled(running, request))


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("issuer_id", {"issuer_id": "SHORT"}),
        ("card_ids", {"card_ids": []}),
        ("card_ids", {"card_ids": ["a", "b", "a"]}),
        ("card_ids", {"card_ids": [f"card-{number}" for number in range(1001)]}),
        ("card_ids[1]", {"card_ids": ["a", "b c"]}),
        ("card_ids[0]", {"card_ids": ["x" * 49]}),
        ("since_time", {"since_time": None}),
        ("since_time", {"since_time": Timestamp(seconds=2**62)}),
        ("since_time", {"since_time": Timestamp(nanos=-1)}),
        ("since_time", {"since_time": Timestamp(seconds=int(time.time()) + 3600)}),
    ],
)
async def test_a_wrong_field_of_a_backfill_is_named_and_nothing_is_asked_of_d1(
    running: Running, field: str, changes: dict[str, Any]
) -> None:
    running.sandbox.faults.add(Fault(status=500))
    fields: dict[str, Any] = {"card_ids": ["card-active"], "since_time": Timestamp(seconds=int(time.time()))}
    failure = await _refused(running, notification.BackfillNotificationsRequest(**{**fields, **changes}))

    assert (failure.code, failure.reason, failure.outcome) == (_CODE.INVALID_ARGUMENT, "INVALID_REQUEST", "NOT_SENT")
    assert set(failure.violations) == {field}
    assert running.sandbox.faults.take(None) is not None


async def test_a_time_in_the_future_is_said_to_be_one(running: Running) -> None:
    failure = await _refused(running, _request("card-active", since=datetime.now(UTC) + timedelta(minutes=1)))
    assert failure.descriptions == {"since_time": "must not be in the future"}


async def test_an_issuer_that_is_not_configured_is_unknown(running: Running) -> None:
    failure = await _refused(running, _request("card-active", issuer_id="ISSUER9999"))
    assert (failure.code, failure.reason) == (_CODE.NOT_FOUND, "ISSUER_UNKNOWN")


async def test_a_gateway_that_shuts_down_ends_a_backfill_between_its_cards(sandbox: Sandbox, tmp_path: Path) -> None:
    used = settings_for(sandbox, tmp_path).model_copy(update={"backfill": BackfillSettings(calls_per_second=2)})
    first, told = asyncio.Event(), list[str]()

    async def read(opened: grpc.aio.Channel) -> None:
        call = NotificationServiceStub(opened).BackfillNotifications(
            _request("card-active", *(f"card-{number}" for number in range(99)))
        )
        async for message in call:
            told.append(message.card.card_id)
            first.set()

    async with AsyncExitStack() as callers:
        async with running_gateway(sandbox, used) as running:
            opened = await callers.enter_async_context(channel(running.addresses.grpc, sandbox.pki))
            reading = asyncio.create_task(failure_of(read(opened)))
            await first.wait()
            began = time.monotonic()
        failure = await reading
    assert (failure.code, failure.reason, failure.retry_seconds) == (_CODE.UNAVAILABLE, "SERVER_DRAINING", 0.0)
    assert told[0] == "card-active"
    assert time.monotonic() - began < used.drain_grace_seconds, "it does not use up the grace period"


async def test_a_backfill_counts_among_the_streams_of_its_caller(sandbox: Sandbox, tmp_path: Path) -> None:
    used = _quick(settings_for(sandbox, tmp_path))
    limited = used.model_copy(update={"grpc": used.grpc.model_copy(update={"max_streams_per_caller": 1})})
    async with running_gateway(sandbox, limited) as running, watching(running) as watch:
        await watch.batch()
        failure = await _refused(running, _request("card-active"))
    assert (failure.code, failure.reason) == (_CODE.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS")


_SERVICE = "issuer.notification.v1.NotificationService"


@pytest.mark.parametrize(
    ("rpcs", "is_allowed"),
    [
        ([f"{_SERVICE}/WatchNotifications", f"{_SERVICE}/CommitCursor", f"{_SERVICE}/GetSubscription"], False),
        ([f"{_SERVICE}/BackfillNotifications"], True),
    ],
)
async def test_a_backfill_needs_its_own_grant(
    sandbox: Sandbox, tmp_path: Path, rpcs: list[str], *, is_allowed: bool
) -> None:
    used = granting(_quick(settings_for(sandbox, tmp_path)), tmp_path, STRANGER, '", "'.join(rpcs))
    _happened(sandbox, "card-active", "op_granted", 4)
    async with running_gateway(sandbox, used) as running, as_stranger(running) as channel:
        call = NotificationServiceStub(channel).BackfillNotifications(_request("card-active", issuer_id="SANDBOX001"))
        if is_allowed:
            assert [message.card.recovered_count async for message in call] == [1]
        else:
            assert (await failure_of(call.read())).code == _CODE.PERMISSION_DENIED
