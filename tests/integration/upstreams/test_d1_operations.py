"""The history of 3DS operations, as D1 sees the calls and as the caller sees the responses."""

from typing import Any

import orjson
import pytest
from google.protobuf import json_format

from adapters.d1.api import D1Client, D1OperationHistory
from gateway.errors import GatewayError
from issuer.threeds.v1 import operation_pb2
from tests.integration.upstreams.fake_d1 import FakeD1
from tests.integration.upstreams.fake_upstream import ISSUER, call, failure_of, kind_of, reply

BASE = f"/banking/v1/issuers/{ISSUER}/cards/card-1/3ds/operations"
SMS = {
    "operationId": "op-2",
    "operation": "3DS_CHALLENGE_OTP_SMS",
    "status": "FAILED",
    "startTime": "2022-06-16T06:28:02.492Z",
    "consumerId": "consumer-1",
    "details": {"acsTransactionId": "acs-1", "threeDSServerTransId": "server-1", "eci": "07"},
    "error": "Wrong password",
    "network": "VISA",
}
FRICTIONLESS = {
    "operationId": "op-1",
    "operation": "3DS_FRICTIONLESS",
    "status": "SUCCESSFUL",
    "startTime": "2022-06-16T06:00:00Z",
}


@pytest.fixture
def history(client: D1Client) -> D1OperationHistory:
    return D1OperationHistory(client)


def page(*operations: object, remaining: object = 0) -> bytes:
    return orjson.dumps({"operations": operations, "remainingOperations": remaining})


def without(operation: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in operation.items() if name not in names}


async def broken(history: D1OperationHistory) -> GatewayError:
    """List operations, which has to fail for what D1 sent; return the error."""
    error = await failure_of(history.list_operations("card-1", 0, 3, call()))
    assert kind_of(error) == ("UPSTREAM_CONTRACT", "UNKNOWN")
    assert error.metadata == {"upstream": "d1", "upstream_status": "200"}
    return error


async def test_a_list_is_a_get_without_a_body_that_says_where_to_begin_and_how_many(
    d1: FakeD1, history: D1OperationHistory
) -> None:
    d1.replies = [reply(page())]

    assert await history.list_operations("card-1", 17, 50, call(correlation_id="trace_42")) == ([], 0)

    (seen,) = d1.calls
    assert (seen.method, seen.path, seen.body) == ("GET", f"{BASE}?offset=17&limit=50", b"")
    assert {"content-type", "content-length", "transfer-encoding"}.isdisjoint(seen.headers)
    assert seen.headers["authorization"] == f"Bearer {d1.tokens[0]}"
    assert seen.headers["x-correlation-id"] == "trace_42"


async def test_operations_are_read_with_all_that_d1_says_of_them(d1: FakeD1, history: D1OperationHistory) -> None:
    # Fields that D1 adds are no fault.
    d1.replies = [reply({"operations": [SMS, FRICTIONLESS], "remainingOperations": 7, "page": 1})]

    listed = await history.list_operations("card-1", 0, 10, call())

    assert listed.remaining == 7
    sms, frictionless = listed.operations
    assert (sms.operation_id, sms.type) == ("op-2", operation_pb2.OPERATION_TYPE_CHALLENGE_OTP_SMS)
    assert (sms.status, sms.error) == (operation_pb2.OPERATION_STATUS_FAILED, "Wrong password")
    assert sms.start_time.ToJsonString() == sms.start_time_text == "2022-06-16T06:28:02.492Z"
    assert (sms.consumer_id, sms.details.acs_transaction_id) == ("consumer-1", "acs-1")
    assert json_format.MessageToDict(sms.details.unrecognized) == {"eci": "07"}
    assert json_format.MessageToDict(sms.unrecognized) == {"network": "VISA"}
    assert frictionless.operation_id == "op-1"
    assert not frictionless.HasField("details")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"operations":null,"remainingOperations":0}',
        b'{"operations":{},"remainingOperations":0}',
        b'{"operations":[]}',
        page(remaining=None),
        page(remaining="0"),
        page(remaining=True),
        page(remaining=0.5),
        page(FRICTIONLESS, remaining=-1),
        page(FRICTIONLESS, remaining=2**32),
        page(remaining=1),
        page(FRICTIONLESS, FRICTIONLESS, FRICTIONLESS, FRICTIONLESS),
        page("op-1"),
    ],
)
async def test_an_answer_that_is_no_page_breaks_the_contract(
    d1: FakeD1, history: D1OperationHistory, body: bytes
) -> None:
    d1.replies = [reply(body)]

    await broken(history)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (without(FRICTIONLESS, "operationId"), "operations[1].operationId"),
        (FRICTIONLESS | {"operationId": "a/b"}, "operations[1].operationId"),
        (without(FRICTIONLESS, "operation"), "operations[1].operation"),
        (without(FRICTIONLESS, "status"), "operations[1].status"),
        (FRICTIONLESS | {"startTime": 1655360882}, "operations[1].startTime"),
        (FRICTIONLESS | {"details": "none"}, "operations[1].details"),
        (FRICTIONLESS | {"details": {"acsTransactionId": 4111111111111111}}, "operations[1].details.acsTransactionId"),
        (None, "operations[1] is not an object"),
    ],
)
async def test_one_operation_that_cannot_be_read_fails_the_page_and_is_named_without_its_value(
    d1: FakeD1, history: D1OperationHistory, wrong: object, place: str
) -> None:
    d1.replies = [reply(page(SMS, wrong))]

    error = await broken(history)

    assert place in error.message
    assert "4111" not in error.message


async def test_one_operation_is_got_by_its_id(d1: FakeD1, history: D1OperationHistory) -> None:
    d1.replies = [reply(SMS)]

    operation = await history.get_operation("card-1", "op-2", call())

    assert (operation.operation_id, operation.details.acs_transaction_id) == ("op-2", "acs-1")
    (seen,) = d1.calls
    assert (seen.method, seen.path, seen.body) == ("GET", f"{BASE}/op-2", b"")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", orjson.dumps(FRICTIONLESS), orjson.dumps(without(SMS, "status"))])
async def test_an_answer_that_is_not_the_operation_breaks_the_contract(
    d1: FakeD1, history: D1OperationHistory, body: bytes
) -> None:
    d1.replies = [reply(body)]

    assert kind_of(await failure_of(history.get_operation("card-1", "op-2", call()))) == (
        "UPSTREAM_CONTRACT",
        "UNKNOWN",
    )


async def test_the_older_form_of_error_is_understood(d1: FakeD1, history: D1OperationHistory) -> None:
    d1.replies = [reply({"error": "Card does not exist"}, 404)]

    error = await failure_of(history.list_operations("card-1", 0, 10, call()))

    assert kind_of(error) == ("UPSTREAM_NOT_FOUND", "REJECTED")
    assert "Card does not exist" in error.message
    assert "upstream_code" not in error.metadata
