"""Consumer notifications: stored once with all fields of D1, beside those about cards."""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from google.protobuf import json_format
from structlog.testing import capture_logs

from issuer.consumer.v1 import operation_pb2 as consumer
from tests.integration.edge.edge_caller import EdgeCaller, consumer_event, event, stored
from tests.running import consumer_notification_path

_MARK = "5413330089010434"
"""A marker of data that must stay out of the log."""


async def test_a_notification_with_a_204_is_stored_whole(caller: EdgeCaller) -> None:
    body = consumer_event(later=[1], details={"appInstanceId": "app-1", "device": "A phone"})
    headers = {"x-correlation-id": "from-d1_42"}

    response = await caller.notify_consumer(body, **headers)

    assert (response.status, response.body) == (204, b"")
    (held,) = await stored(caller.running)
    assert (held.issuer_id, held.card_id, held.consumer_id) == ("SANDBOX001", "", "consumer-1")
    assert (held.correlation_id, held.WhichOneof("event")) == ("from-d1_42", "consumer_operation")
    operation = held.consumer_operation
    assert (operation.operation_id, operation.type) == ("op_1", consumer.CONSUMER_OPERATION_TYPE_ENROLL_AUTHN)
    assert operation.status == consumer.CONSUMER_OPERATION_STATUS_SUCCESSFUL
    assert operation.start_time.ToJsonString() == "2022-06-16T06:28:02.492Z"
    assert operation.details.app_instance_id == "app-1"
    assert json_format.MessageToDict(operation.details.unrecognized) == {"device": "A phone"}
    assert json_format.MessageToDict(operation.unrecognized) == {"later": [1]}


@pytest.mark.parametrize("field", ["startTime", "endTime", "details", "error"])
@pytest.mark.parametrize("other", [..., None, 7, [True]])
async def test_no_optional_field_of_whatever_type_keeps_a_notification_out(
    caller: EdgeCaller, field: str, other: Any
) -> None:
    assert (await caller.notify_consumer(consumer_event(**{field: other}))).status == 204
    (held,) = await stored(caller.running)
    expected = {} if other in (..., None) else {field: other}
    assert json_format.MessageToDict(held.consumer_operation.unrecognized) == expected


async def test_a_duplicate_gets_a_204_but_is_not_stored_again(caller: EdgeCaller) -> None:
    again = consumer_event(status="FAILED")
    responses = await asyncio.gather(*(caller.notify_consumer(body) for body in [consumer_event()] * 10))
    assert {response.status for response in responses} == {204}
    assert (await caller.notify_consumer(again)).status == 204
    (held,) = await stored(caller.running)
    assert held.consumer_operation.status_text == "SUCCESSFUL"


async def test_the_same_operation_id_of_another_consumer_or_of_a_card_is_another_operation(caller: EdgeCaller) -> None:
    for consumer_id in ("one", "two", "one"):
        assert (await caller.notify_consumer(consumer_id=consumer_id)).status == 204
    assert (await caller.notify(event(), card_id="one")).status == 204
    held = await stored(caller.running)
    assert [(each.WhichOneof("event"), each.card_id, each.consumer_id) for each in held] == [
        ("consumer_operation", "", "one"),
        ("consumer_operation", "", "two"),
        ("three_ds_operation", "one", "consumer-1"),
    ]


@pytest.mark.parametrize(
    ("status", "error", "path", "body"),
    [
        (404, "unknown issuerId", consumer_notification_path("consumer-1", _MARK[:10]), consumer_event()),
        (400, "consumerId must match", consumer_notification_path("c" * 65), consumer_event()),
        (400, "consumerId must match", consumer_notification_path("c%20d"), consumer_event()),
        (400, "operationId must match", consumer_notification_path("c"), consumer_event(operationId=_MARK + "/")),
        (400, "operationId must match", consumer_notification_path("c"), consumer_event(operationId=...)),
        (400, "operation must be", consumer_notification_path("c"), consumer_event(operation=[_MARK])),
        (400, "status must be", consumer_notification_path("c"), consumer_event(status=None)),
        (400, "JSON object", consumer_notification_path("c"), [_MARK]),
    ],
)
async def test_what_is_no_notification_is_refused_and_not_stored(
    caller: EdgeCaller, status: int, error: str, path: str, body: Any
) -> None:
    with capture_logs() as logged:
        response = await caller.request("POST", path, json=body)
    assert error in response.error(status)
    assert [entry["status"] for entry in logged if entry["event"] == "callback_rejected"] == [status]
    assert _MARK not in repr(logged)
    assert await stored(caller.running) == []


async def test_an_error_names_the_consumer_in_the_log(caller: EdgeCaller) -> None:
    with capture_logs() as logged:
        (await caller.notify_consumer(consumer_event(status=...))).error(400)
    (refused,) = [entry for entry in logged if entry["event"] == "callback_rejected"]
    assert refused["consumer_id"] == "consumer-1"
    assert refused["callback"] == consumer_notification_path("{consumerId}", "{issuerId}")


async def test_while_the_storage_is_busy_d1_gets_a_retry_after(caller: EdgeCaller) -> None:
    with closing(sqlite3.connect(caller.running.event_log, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        response = await caller.notify_consumer()
    assert response.error(503) == "EVENT_LOG_UNAVAILABLE"
    assert (await caller.notify_consumer()).status == 204
    assert len(await stored(caller.running)) == 1


async def test_where_tokens_were_agreed_a_notification_needs_one(guarded_caller: EdgeCaller) -> None:
    assert "token" in (await guarded_caller.notify_consumer()).error(401)
    assert await stored(guarded_caller.running) == []
