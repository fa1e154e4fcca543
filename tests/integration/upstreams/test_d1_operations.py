"""The history of 3DS operations, as D1 sees the calls and as the caller sees the responses."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from google.protobuf import json_format

from adapters.d1.api import D1Client, D1OperationHistory
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


async def test_a_list_is_a_get_without_a_body_that_says_where_to_begin_and_how_many(
    d1: FakeD1, history: D1OperationHistory
) -> None:
    # Fields that D1 adds are no fault.
    d1.replies = [reply({"operations": [SMS, FRICTIONLESS], "remainingOperations": 7, "page": 1})]

    listed = await history.list_operations("card-1", 17, 50, call())

    assert ([each.operation_id for each in listed.operations], listed.remaining) == (["op-2", "op-1"], 7)
    (seen,) = d1.calls
    assert (seen.method, seen.path, seen.body) == ("GET", f"{BASE}?offset=17&limit=50", b"")
    assert {"content-type", "content-length", "transfer-encoding"}.isdisjoint(seen.headers)
    assert seen.headers["authorization"] == f"Bearer {d1.tokens[0]}"
    assert seen.headers["x-correlation-id"] == "correlation-1"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"operations":null,"remainingOperations":0}', ""),
        (b'{"operations":{},"remainingOperations":0}', ""),
        (b"{}", ""),
        (page(*[FRICTIONLESS] * 4), ""),
        (page(remaining=1), ""),
    ],
)
async def test_a_page_that_cannot_be_read_breaks_the_contract(
    d1: FakeD1, history: D1OperationHistory, body: bytes, place: str
) -> None:
    d1.replies = [reply(body)]

    error = await failure_of(history.list_operations("card-1", 0, 3, call()))

    assert kind_of(error) == ("UPSTREAM_CONTRACT", "UNKNOWN")
    assert error.metadata == {"upstream": "d1", "upstream_status": "200"}
    assert place in error.message


_ODD: list[tuple[Any, str, dict[str, Any]]] = [
    (FRICTIONLESS | {"consumerId": ""}, "op-1", {}),
    (FRICTIONLESS | {"status": None}, "op-1", {}),
    (FRICTIONLESS | {"startTime": 1655360882}, "op-1", {"startTime": 1655360882}),
    (FRICTIONLESS | {"details": ["none"]}, "op-1", {"details": ["none"]}),
    (FRICTIONLESS | {"error": {"code": "4"}}, "op-1", {"error": {"code": "4"}}),
    (FRICTIONLESS | {"operationId": "op/1"}, "", {"operationId": "op/1"}),
    (FRICTIONLESS | {"operationId": None}, "", {}),
    (None, "", {"item": None}),
    ("op-1", "", {"item": "op-1"}),
]


@pytest.mark.parametrize(("item", "operation_id", "unrecognized"), _ODD)
async def test_an_odd_operation_fails_no_page_and_leaves_no_gap(
    d1: FakeD1, history: D1OperationHistory, item: Any, operation_id: str, unrecognized: dict[str, Any]
) -> None:
    d1.replies = [reply(page(SMS, item, SMS, remaining=4))]

    listed = await history.list_operations("card-1", 0, 3, call())

    assert [each.operation_id for each in listed.operations] == ["op-2", operation_id, "op-2"]
    assert json_format.MessageToDict(listed.operations[1].unrecognized) == unrecognized
    assert listed.remaining == 4


@pytest.mark.parametrize("remaining", [..., None, "0", True, 0.5, -1, 2**32])
@pytest.mark.parametrize(("count", "expected"), [(0, 0), (2, 0), (3, 1)])
async def test_if_d1_does_not_say_what_remains_more_may_follow_a_full_page(
    d1: FakeD1, history: D1OperationHistory, remaining: Any, count: int, expected: int
) -> None:
    said = {} if remaining is ... else {"remainingOperations": remaining}
    d1.replies = [reply({"operations": [SMS] * count, **said})]

    assert (await history.list_operations("card-1", 0, 3, call())).remaining == expected


async def test_one_operation_is_got_by_its_id(d1: FakeD1, history: D1OperationHistory) -> None:
    d1.replies = [reply(SMS)]

    operation = await history.get_operation("card-1", "op-2", call())

    assert (operation.operation_id, operation.details.acs_trans_id) == ("op-2", "acs-1")
    (seen,) = d1.calls
    assert (seen.method, seen.path, seen.body) == ("GET", f"{BASE}/op-2", b"")


async def test_an_odd_operation_is_got_too(d1: FakeD1, history: D1OperationHistory) -> None:
    d1.replies = [reply(SMS | {"status": None, "error": [1]})]

    operation = await history.get_operation("card-1", "op-2", call())

    assert (operation.operation_id, operation.status_text) == ("op-2", "")
    assert json_format.MessageToDict(operation.unrecognized) == {"error": [1], "network": "VISA"}


@pytest.mark.parametrize("body", [FRICTIONLESS, SMS | {"operationId": None}], ids=["another", "without an id"])
async def test_an_answer_that_is_not_the_operation_breaks_the_contract(
    d1: FakeD1, history: D1OperationHistory, body: dict[str, Any]
) -> None:
    d1.replies = [reply(body)]

    error = await failure_of(history.get_operation("card-1", "op-2", call()))

    assert kind_of(error) == ("UPSTREAM_CONTRACT", "UNKNOWN")


async def test_what_fails_in_the_background_opens_no_circuit_for_others(
    d1: FakeD1, history: D1OperationHistory
) -> None:
    d1.replies = [*[reply({"error": "Failed"}, 500)] * 30, reply(page(FRICTIONLESS))]

    for _ in range(30):
        error = await failure_of(history.list_operations("card-1", 0, 50, replace(call(), is_background=True)))
        assert kind_of(error) == ("UPSTREAM_FAILED", "UNKNOWN")

    assert (await history.list_operations("card-1", 0, 50, call())).remaining == 0
