"""The history of 3DS operations, as D1 sees the calls and as the caller sees the responses."""

from typing import Any

import orjson
import pytest

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
        (b'{"operations":[]}', ""),
        *((page(remaining=remaining), "") for remaining in (None, "0", True, 0.5)),
        *((page(FRICTIONLESS, remaining=remaining), "") for remaining in (-1, 2**32)),
        (page(*[FRICTIONLESS] * 4), ""),
        (page("op-1"), "operations[0] is not an object"),
        (page(SMS, None), "operations[1] is not an object"),
        (page(SMS, FRICTIONLESS | {"operationId": None}), "operations[1].operationId"),
        (page(SMS, FRICTIONLESS | {"details": "none"}), "operations[1].details"),
        (
            page(SMS, FRICTIONLESS | {"details": {"acsTransactionId": 4111111}}),
            "operations[1].details.acsTransactionId",
        ),
    ],
)
async def test_a_page_that_cannot_be_read_breaks_the_contract_and_its_fault_is_named_without_a_value(
    d1: FakeD1, history: D1OperationHistory, body: bytes, place: str
) -> None:
    d1.replies = [reply(body)]

    error = await failure_of(history.list_operations("card-1", 0, 3, call()))

    assert kind_of(error) == ("UPSTREAM_CONTRACT", "UNKNOWN")
    assert error.metadata == {"upstream": "d1", "upstream_status": "200"}
    assert place in error.message
    assert "4111" not in error.message


async def test_one_operation_is_got_by_its_id(d1: FakeD1, history: D1OperationHistory) -> None:
    d1.replies = [reply(SMS)]

    operation = await history.get_operation("card-1", "op-2", call())

    assert (operation.operation_id, operation.details.acs_trans_id) == ("op-2", "acs-1")
    (seen,) = d1.calls
    assert (seen.method, seen.path, seen.body) == ("GET", f"{BASE}/op-2", b"")


@pytest.mark.parametrize("body", [FRICTIONLESS, SMS | {"status": None}], ids=["another", "without a status"])
async def test_an_answer_that_is_not_the_operation_breaks_the_contract(
    d1: FakeD1, history: D1OperationHistory, body: dict[str, Any]
) -> None:
    d1.replies = [reply(body)]

    error = await failure_of(history.get_operation("card-1", "op-2", call()))

    assert kind_of(error) == ("UPSTREAM_CONTRACT", "UNKNOWN")
