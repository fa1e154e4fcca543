"""NotificationService: the notifications that a watcher receives."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from adapters.sqlite import SqliteStorage
from gateway.ports import Event
from gateway.settings import EventLogSettings
from issuer.consumer.v1 import operation_pb2 as consumer
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import operation_pb2 as threeds
from sandbox import Sandbox
from sandbox.d1.model.notification import ConsumerNotification, Notification
from tests.contract.watching import EARLIEST, end_of_log, later, notify, watching
from tests.running import SECOND_ISSUER, Running, edge_session, notification_path, running_gateway, settings_for

_TICK = Duration(nanos=100_000_000)


@pytest.fixture
async def begin(running: Running) -> str:
    """The end of the shared gateway's log, where a test begins to watch."""
    return await end_of_log(running)


async def test_the_first_message_comes_at_once_and_says_where_the_watch_begins(running: Running) -> None:
    await notify(running, "card-1")
    async with watching(running) as watch:
        first = await watch.batch()
        assert (list(first.notifications), first.role) == ([], notification.WATCHER_ROLE_ACTIVE)
        (operation_id,) = await notify(running, "card-2")
        batch = await watch.batch()
    assert [each.three_ds_operation.operation_id for each in batch.notifications] == [operation_id]
    assert batch.cursor == batch.notifications[0].cursor != first.cursor


async def test_a_notification_says_all_that_d1_said(running: Running, begin: str) -> None:
    sent = Notification(
        "card-said",
        "op_1",
        datetime(2022, 6, 16, 6, 28, 2, 492_000, tzinfo=UTC),
        operation="3DS_CHALLENGE_OTP_SMS",
        status="FAILED",
        consumer_id="consumer-1",
        details={"acsTransactionId": "acs-1", "threeDSServerTransId": "3ds-1", "merchant": {"name": "Books"}},
        error="Too many attempts",
        unknown={"later": [1, None, True]},
    )
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert await running.sandbox.notifier.send(sent) == 204
    async with watching(running, after_cursor=begin) as watch:
        (got,) = await watch.take(1)
    assert (got.issuer_id, got.card_id, got.correlation_id) == ("SANDBOX001", "card-said", "op_1")
    assert before < got.receive_time.ToDatetime(UTC) < datetime.now(UTC) + timedelta(seconds=1)
    operation = got.three_ds_operation
    assert (operation.operation_id, operation.consumer_id) == ("op_1", "consumer-1")
    assert (operation.type, operation.type_text) == (
        threeds.THREE_DS_OPERATION_TYPE_CHALLENGE_OTP_SMS,
        "3DS_CHALLENGE_OTP_SMS",
    )
    assert (operation.status, operation.status_text) == (threeds.THREE_DS_OPERATION_STATUS_FAILED, "FAILED")
    assert operation.start_time.ToJsonString() == operation.start_time_text == "2022-06-16T06:28:02.492Z"
    assert operation.error == "Too many attempts"
    assert (operation.details.acs_trans_id, operation.details.three_ds_server_trans_id) == ("acs-1", "3ds-1")
    assert json_format.MessageToDict(operation.details.unrecognized) == {"merchant": {"name": "Books"}}
    assert json_format.MessageToDict(operation.unrecognized) == {"later": [1, None, True]}


async def test_words_that_the_contract_does_not_know_come_as_text(running: Running, begin: str) -> None:
    await notify(running, "card-1", operation="3DS_SOMETHING_NEW", status="PENDING")
    async with watching(running, after_cursor=begin) as watch:
        (got,) = await watch.take(1)
    operation = got.three_ds_operation
    assert (operation.type, operation.status) == (0, 0)
    assert (operation.type_text, operation.status_text) == ("3DS_SOMETHING_NEW", "PENDING")


async def test_a_watch_resumes_after_its_cursor_without_gap_or_repetition(running: Running, begin: str) -> None:
    sent = await notify(running, *["card-1"] * 4)
    async with watching(running, after_cursor=begin, max_batch_size=1) as watch:
        got = await watch.take(2)
    async with watching(running, after_cursor=got[-1].cursor) as watch:
        sent += await notify(running, "card-1")
        rest = await watch.operation_ids(3)
    assert [each.three_ds_operation.operation_id for each in got] + rest == sent


async def test_a_watch_begins_at_a_time(running: Running, begin: str) -> None:
    await notify(running, "card-1")
    async with watching(running, after_cursor=begin) as watch:
        (old,) = await watch.take(1)
    # Times have a resolution of a millisecond.
    since = Timestamp()
    since.FromMilliseconds(old.receive_time.ToMilliseconds() + 1)
    await asyncio.sleep(0.01)
    sent = await notify(running, "card-1")
    async with watching(running, since_time=since) as watch:
        assert await watch.operation_ids(1) == sent


async def test_a_batch_is_no_larger_than_requested(running: Running, begin: str) -> None:
    sent = await notify(running, *["card-1"] * 7)
    async with watching(running, after_cursor=begin, max_batch_size=3) as watch:
        await watch.batch()
        batches = [await watch.batch() for _ in range(3)]
    assert [len(batch.notifications) for batch in batches] == [3, 3, 1]
    assert [each.three_ds_operation.operation_id for batch in batches for each in batch.notifications] == sent
    assert all(batch.cursor == batch.notifications[-1].cursor for batch in batches)


async def test_a_duplicate_is_delivered_once(running: Running, begin: str) -> None:
    sent = Notification("card-twice", "op_1", datetime.now(UTC))
    assert await running.sandbox.notifier.send_all([sent, sent]) == [204, 204]
    last = await notify(running, "card-1")
    async with watching(running, after_cursor=begin) as watch:
        assert await watch.operation_ids(2) == ["op_1", *last]


async def test_a_pending_operation_is_delivered_again_when_it_has_ended(running: Running, begin: str) -> None:
    states = ["PENDING", "SUCCESSFUL", "PENDING", "SUCCESSFUL"]
    for status in states:
        sent = _enrolment("consumer-pending", "op_1", status=status)
        assert await running.sandbox.notifier.send_all([sent]) == [204]
    async with watching(running, after_cursor=begin) as watch:
        received = await watch.take(2)
    assert [each.consumer_operation.status_text for each in received] == states[:2]


async def test_a_silent_watch_gets_heartbeats_with_its_cursor(running: Running) -> None:
    async with watching(running, heartbeat_interval=_TICK) as watch:
        first = await watch.batch()
        began = time.perf_counter()
        beats = [await watch.batch() for _ in range(3)]
        elapsed = time.perf_counter() - began
    assert beats == [first] * 3
    # The interval is 100 ms.
    assert 0.2 < elapsed < 10.0


def _enrolment(consumer_id: str, operation_id: str, **fields: Any) -> ConsumerNotification:
    return ConsumerNotification(consumer_id, operation_id, datetime.now(UTC), **{"operation": "ENROLL_AUTHN", **fields})


async def test_what_happens_to_consumers_comes_in_the_same_stream_and_in_order(running: Running) -> None:
    by = {"requestor_type": "A_LATER_KIND", "requestor_id": "agent-7"}
    sent: list[Notification | ConsumerNotification] = [
        Notification("card-3", "op_1", datetime.now(UTC), consumer_id="consumer-3"),
        _enrolment("consumer-3", "op_1", details={"appInstanceId": "app-1"}, unknown={"later": True}, **by),
        Notification("card-3", "op_2", datetime.now(UTC)),
        _enrolment("consumer-3", "op_2", operation="SOMETHING_NEW", status="PENDING"),
    ]
    async with watching(running) as watch:
        await watch.batch()
        for each in sent:
            assert await running.sandbox.notifier.send(each) == 204
        got = await watch.take(4)
    assert [(each.WhichOneof("event"), each.card_id, each.consumer_id) for each in got] == [
        ("three_ds_operation", "card-3", "consumer-3"),
        ("consumer_operation", "", "consumer-3"),
        ("three_ds_operation", "card-3", ""),
        ("consumer_operation", "", "consumer-3"),
    ]
    first, second = got[1].consumer_operation, got[3].consumer_operation
    assert (first.operation_id, first.type) == ("op_1", consumer.CONSUMER_OPERATION_TYPE_ENROLL_AUTHN)
    assert first.details.app_instance_id == "app-1"
    assert (first.requestor_type_text, first.requestor_id) == ("A_LATER_KIND", "agent-7")
    assert json_format.MessageToDict(first.unrecognized) == {"later": True}
    assert (second.type, second.type_text) == (0, "SOMETHING_NEW")
    assert second.status == consumer.CONSUMER_OPERATION_STATUS_PENDING


_FILTERS: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "abcdefghi"),
    ({"card_ids": ["card-1"]}, "ace"),
    ({"card_ids": ["card-1", "card-2", "card-9"]}, "abcdef"),
    ({"card_ids": ["card-1", "consumer-1"]}, "ace"),
    ({"consumer_ids": ["consumer-1"]}, "abgi"),
    ({"three_ds_operations": {"types": [threeds.THREE_DS_OPERATION_TYPE_FRICTIONLESS]}}, "c"),
    ({"three_ds_operations": {"types": [threeds.THREE_DS_OPERATION_TYPE_CHALLENGE_OOB]}}, "abef"),
    ({"three_ds_operations": {"types": [threeds.THREE_DS_OPERATION_TYPE_UNSPECIFIED]}}, "d"),
    ({"three_ds_operations": {"statuses": [threeds.THREE_DS_OPERATION_STATUS_FAILED]}}, "b"),
    (
        {
            "three_ds_operations": {
                "statuses": [threeds.THREE_DS_OPERATION_STATUS_UNSPECIFIED, threeds.THREE_DS_OPERATION_STATUS_FAILED]
            }
        },
        "be",
    ),
    ({"card_ids": ["card-2"], "consumer_ids": ["consumer-1"]}, "b"),
    (
        {
            "card_ids": ["card-2"],
            "three_ds_operations": {"types": [threeds.THREE_DS_OPERATION_TYPE_FRICTIONLESS]},
        },
        "",
    ),
    ({"three_ds_operations": {}}, "abcdef"),
    ({"consumer_operations": {}}, "ghi"),
    ({"three_ds_operations": {}, "consumer_operations": {}}, "abcdefghi"),
    ({"consumer_operations": {"types": [consumer.CONSUMER_OPERATION_TYPE_ENROLL_AUTHN]}}, "gh"),
    ({"consumer_operations": {"types": [consumer.CONSUMER_OPERATION_TYPE_UNSPECIFIED]}}, "i"),
    ({"consumer_operations": {"statuses": [consumer.CONSUMER_OPERATION_STATUS_FAILED]}}, "h"),
    (
        {
            "three_ds_operations": {},
            "consumer_operations": {"statuses": [consumer.CONSUMER_OPERATION_STATUS_FAILED]},
        },
        "abcdefh",
    ),
    ({"consumer_ids": ["consumer-1"], "consumer_operations": {}}, "gi"),
    ({"card_ids": ["card-1"], "consumer_operations": {}}, ""),
)


async def test_a_filter_lets_through_what_agrees_with_all_its_lists(running: Running, begin: str) -> None:
    at = datetime.now(UTC)
    sent = (
        Notification("card-1", "op_a", at, consumer_id="consumer-1"),
        Notification("card-2", "op_b", at, consumer_id="consumer-1", status="FAILED"),
        Notification("card-1", "op_c", at, operation="3DS_FRICTIONLESS"),
        Notification("card-2", "op_d", at, operation="3DS_NEW"),
        Notification("card-1", "op_e", at, status="NEW"),
        Notification("card-2", "op_f", at, consumer_id="consumer-2"),
        _enrolment("consumer-1", "op_g"),
        _enrolment("consumer-2", "op_h", status="FAILED"),
        _enrolment("consumer-1", "op_i", operation="SOMETHING_NEW"),
    )
    for each in sent:
        assert await running.sandbox.notifier.send(each) == 204
    for fields, wanted in _FILTERS:
        async with watching(running, after_cursor=begin, filter=fields, heartbeat_interval=_TICK) as watch:
            got = await watch.take(len(wanted))
            # Further heartbeats show that the cursor has moved past notifications that do not match.
            while (beat := await watch.batch()).cursor != later(begin, len(sent)):
                pass
        assert not beat.notifications
        ids = [each.three_ds_operation.operation_id or each.consumer_operation.operation_id for each in got]
        assert ids == [f"op_{letter}" for letter in wanted], fields


async def test_a_filter_takes_single_operations(running: Running, begin: str) -> None:
    sent = await notify(running, "card-1", "card-2", "card-1")
    async with watching(running, after_cursor=begin, filter={"operation_ids": sent[1:]}) as watch:
        assert await watch.operation_ids(2) == sent[1:]


async def test_a_watcher_sees_its_own_issuer_only(running_two: Running) -> None:
    (own,) = await notify(running_two, "card-1")
    body = Notification("card-1", "op_other", datetime.now(UTC)).body()
    async with edge_session(running_two.sandbox) as session:
        url = running_two.edge + notification_path("card-1", SECOND_ISSUER)
        async with session.post(url, json=body) as answer:
            assert answer.status == 204
    for issuer_id, operation_id in (("SANDBOX001", own), (SECOND_ISSUER, "op_other")):
        async with watching(running_two, issuer_id=issuer_id, position=EARLIEST) as watch:
            (got,) = await watch.take(1)
        assert (got.issuer_id, got.three_ds_operation.operation_id) == (issuer_id, operation_id)


async def test_many_watchers_see_the_same(running: Running, begin: str) -> None:
    async with (
        watching(running) as one,
        watching(running, filter={"card_ids": ["card-2"]}) as two,
        watching(running, after_cursor=begin) as three,
    ):
        for watch in (one, two, three):
            await watch.batch()
        sent = await notify(running, "card-1", "card-2", "card-1")
        assert await one.operation_ids(3) == sent
        assert await two.operation_ids(1) == sent[1:2]
        assert await three.operation_ids(3) == sent


@pytest.mark.parametrize(
    "cursor", ["x", "00000000-0", "{log}-{next}", "{log}-0{last}", "{log}--1", "{log}-9999999999999999999"]
)
async def test_a_cursor_of_no_such_log_is_unknown(running: Running, begin: str, cursor: str) -> None:
    log_id, _, last = begin.partition("-")
    async with watching(running, after_cursor=cursor.format(log=log_id, last=last, next=int(last) + 1)) as watch:
        failure = await watch.failure()
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CURSOR_UNKNOWN")


async def test_an_expired_cursor_gets_the_earliest_one(sandbox: Sandbox, tmp_path: Path) -> None:
    used = settings_for(sandbox, tmp_path)
    storage = await SqliteStorage.open(used.event_log.path, retention=EventLogSettings(retention_seconds=3600))
    for number in range(3):
        await storage.log.append(Event("SANDBOX001", 1, "card-1", f"op_{number}", "", 0, 0, 1_000, b""))
    assert await storage.log.trim() == 3
    await storage.close()
    async with running_gateway(sandbox, used) as running:
        async with watching(running, after_cursor=f"{storage.log.log_id}-2") as watch:
            failure = await watch.failure()
        assert (failure.code, failure.reason) == (grpc.StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED")
        sent = await notify(running, "card-1")
        async with watching(running, after_cursor=failure.detail.earliest_cursor) as watch:
            assert await watch.operation_ids(1) == sent


_LONG = "x" * 65
_ENUMS = tuple(
    (operations, enums)
    for operations in ("three_ds_operations", "consumer_operations")
    for enums in ("types", "statuses")
)


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("issuer_id", {"issuer_id": "SHORT"}),
        ("position", {"position": 9}),
        ("after_cursor", {"after_cursor": ""}),
        ("after_cursor", {"after_cursor": _LONG}),
        ("since_time", {"since_time": Timestamp(seconds=2**62)}),
        ("since_time", {"since_time": Timestamp(seconds=-(2**62))}),
        ("since_time", {"since_time": Timestamp(nanos=-1)}),
        ("subscription", {"subscription": _LONG}),
        ("subscription", {"subscription": "a b"}),
        ("max_batch_size", {"max_batch_size": 1001}),
        ("heartbeat_interval", {"heartbeat_interval": Duration(nanos=99_000_000)}),
        ("heartbeat_interval", {"heartbeat_interval": Duration(seconds=301)}),
        ("filter.card_ids[1]", {"filter": {"card_ids": ["ok", "x" * 49]}}),
        ("filter.consumer_ids[0]", {"filter": {"consumer_ids": [_LONG]}}),
        ("filter.operation_ids[0]", {"filter": {"operation_ids": [""]}}),
        *((f"filter.{ids}", {"filter": {ids: ["a"] * 1001}}) for ids in ("card_ids", "consumer_ids", "operation_ids")),
        *((f"filter.{of}.{enums}[0]", {"filter": {of: {enums: [99]}}}) for of, enums in _ENUMS),
        *((f"filter.{of}.{enums}", {"filter": {of: {enums: [1] * 17}}}) for of, enums in _ENUMS),
    ],
)
async def test_a_wrong_field_of_a_watch_is_named(running: Running, field: str, request_: dict[str, Any]) -> None:
    async with watching(running, **request_) as watch:
        failure = await watch.failure()
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert (set(failure.violations), failure.outcome) == ({field}, "NOT_SENT")
