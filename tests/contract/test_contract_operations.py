"""OperationService: D1's history page by page, and every documented error."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
import pytest

from issuer.threeds.v1 import history_pb2, operation_pb2
from sandbox import Sandbox
from sandbox.common.faults import Drop, Fault
from sandbox.d1.model.contract import Operation
from sandbox.d1.model.notification import Notification, Variant, vary
from tests.contract.card_rpcs import Rpc, changed
from tests.contract.d1_failures import MAX_SENT, REJECTIONS, TOKEN_REJECTIONS, Case
from tests.running import SECOND_ISSUER, Failure, Running, failure_of, running_gateway, settings_for

_Code = grpc.StatusCode
_HANGS = 30_000
"""The longest time that the simulator may hold a call, in milliseconds."""
_BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=2)
RPCS: Mapping[str, Rpc] = MappingProxyType(
    {
        rpc.name: rpc
        for rpc in (
            Rpc(
                "ListOperations",
                Operation.LIST_THREE_DS_OPERATIONS,
                history_pb2.ListOperationsRequest(card_id="card-active"),
                "operations",
            ),
            Rpc(
                "GetOperation",
                Operation.GET_THREE_DS_OPERATION,
                history_pb2.GetOperationRequest(card_id="card-active", operation_id="op-1"),
                "operations",
            ),
        )
    }
)
"""Requests that succeed after `happened`."""
LIST, GET = RPCS.values()
every_rpc = pytest.mark.parametrize("rpc", RPCS.values(), ids=RPCS.keys())


def happened(sandbox: Sandbox, *numbers: int, card_id: str = "card-active") -> None:
    """Add the operations ``op-<number>`` to the history, each in the second of its number."""
    for number in numbers:
        time = _BEGIN + timedelta(seconds=number)
        sandbox.history.add(Notification(card_id, f"op-{number}", time, details={"acsTransactionId": f"acs-{number}"}))


async def _page(running: Running, **fields: Any) -> history_pb2.ListOperationsResponse:
    page = await LIST.call(running, changed(LIST.request, **fields))
    assert isinstance(page, history_pb2.ListOperationsResponse)
    return page


def _ids(page: history_pb2.ListOperationsResponse) -> list[str]:
    return [operation.operation_id for operation in page.operations]


async def _refused(running: Running, rpc: Rpc, **fields: Any) -> Failure:
    """Make a call that must send nothing."""
    running.sandbox.faults.add(Fault(status=500))
    failure = await failure_of(rpc.call(running, changed(rpc.request, **fields)))
    assert running.sandbox.faults.take(None) is not None, "D1 was called"
    assert (failure.outcome, failure.retry_seconds) == ("NOT_SENT", None)
    return failure


async def test_a_card_without_operations_has_an_empty_list(running: Running) -> None:
    assert await _page(running) == history_pb2.ListOperationsResponse()


async def test_operations_are_listed_newest_first_ten_at_a_time(running: Running) -> None:
    happened(running.sandbox, *range(1, 13))
    happened(running.sandbox, 99, card_id="card-suspended")

    first = await _page(running)
    second = await _page(running, page_token=first.next_page_token)

    assert (_ids(first), first.remaining_operations) == ([f"op-{number}" for number in range(12, 2, -1)], 2)
    assert (_ids(second), second.remaining_operations, second.next_page_token) == (["op-2", "op-1"], 0, "")


async def test_pages_go_on_where_the_one_before_ended_while_operations_arrive(running: Running) -> None:
    happened(running.sandbox, *range(1, 8))
    listed, token, arrived = [], "", 7
    for new in (1, 3, 120, 0, 2, 5, 1, 1):
        page = await _page(running, page_size=2, page_token=token)
        listed += _ids(page)
        token = page.next_page_token
        if not token:
            break
        happened(running.sandbox, *range(arrived + 1, arrived + 1 + new))
        arrived += new

    assert listed == [f"op-{number}" for number in range(7, 0, -1)]
    assert not token


async def test_every_field_of_an_operation_reaches_the_caller(running: Running) -> None:
    first = Notification("card-active", "op-1", _BEGIN, operation="3DS_FRICTIONLESS", consumer_id="consumer-1")
    (known,), (more,), (other,) = (
        vary(variant, replace(first, operation_id=f"op-{variant}"), 1)
        for variant in (Variant.PLAIN, Variant.UNKNOWN_FIELDS, Variant.UNKNOWN_VALUES)
    )
    for each in (known, more, other):
        running.sandbox.history.add(each)

    values, fields, plain = (await _page(running)).operations

    assert (plain.type, plain.status) == (
        operation_pb2.OPERATION_TYPE_FRICTIONLESS,
        operation_pb2.OPERATION_STATUS_SUCCESSFUL,
    )
    assert (plain.start_time.ToDatetime(tzinfo=UTC), plain.consumer_id) == (_BEGIN, "consumer-1")
    assert fields.unrecognized["unknownField"] == "of a later version"
    assert "unknownDetail" in fields.details.unrecognized
    assert (values.type, values.operation_text) == (operation_pb2.OPERATION_TYPE_UNSPECIFIED, "3DS_UNKNOWN_OPERATION")
    assert (values.status, values.status_text) == (operation_pb2.OPERATION_STATUS_UNSPECIFIED, "UNKNOWN_STATUS")


async def test_one_operation_is_got_as_the_list_has_it(running: Running) -> None:
    happened(running.sandbox, 1, 2)

    answer = await GET.call(running)

    assert answer.operation == (await _page(running)).operations[1]
    assert answer.operation.details.acs_transaction_id == "acs-1"


@pytest.mark.parametrize(
    ("rpc", "fields"),
    [
        (LIST, {"card_id": "card-unknown"}),
        (GET, {"card_id": "card-unknown"}),
        (GET, {"operation_id": "op-9"}),
        (GET, {"card_id": "card-suspended"}),
    ],
)
async def test_what_d1_does_not_know_is_not_found(running: Running, rpc: Rpc, fields: dict[str, Any]) -> None:
    happened(running.sandbox, 1)

    failure = await failure_of(rpc.call(running, changed(rpc.request, **fields)))

    assert (failure.code, failure.reason, failure.outcome) == (_Code.NOT_FOUND, "UPSTREAM_NOT_FOUND", "REJECTED")
    assert failure.metadata["upstream_status"] == "404"


async def test_what_is_older_than_a_year_is_gone(running: Running) -> None:
    old = Notification("card-active", "op-1", _BEGIN - timedelta(days=365))
    running.sandbox.history.add(old)

    assert not (await _page(running)).operations
    assert (await failure_of(GET.call(running))).reason == "UPSTREAM_NOT_FOUND"


async def test_a_list_ends_where_its_last_operation_was_forgotten(running: Running) -> None:
    happened(running.sandbox, 1, 2, 3)
    token = (await _page(running, page_size=1)).next_page_token
    running.sandbox.history._operations["card-active"].clear()
    happened(running.sandbox, 4)

    assert await _page(running, page_token=token) == history_pb2.ListOperationsResponse()


async def test_a_page_token_is_good_for_its_own_list_only(running_two: Running) -> None:
    happened(running_two.sandbox, 1, 2)
    token = (await _page(running_two, issuer_id="SANDBOX001", page_size=1)).next_page_token
    for fields in (
        {"issuer_id": "SANDBOX001", "card_id": "card-suspended", "page_token": token},
        {"issuer_id": SECOND_ISSUER, "page_token": token},
        {"issuer_id": "SANDBOX001", "page_token": token[:-1]},
        {"issuer_id": "SANDBOX001", "page_token": token + "A"},
        {"issuer_id": "SANDBOX001", "page_token": "next"},
    ):
        failure = await _refused(running_two, LIST, **fields)
        assert (failure.code, failure.reason) == (_Code.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
        assert set(failure.violations) == {"page_token"}
    assert _ids(await _page(running_two, issuer_id="SANDBOX001", page_token=token)) == ["op-1"]


@pytest.mark.parametrize("case", REJECTIONS.values(), ids=REJECTIONS.keys())
async def test_each_response_of_d1_reaches_the_caller(running: Running, case: Case) -> None:
    for rpc in RPCS.values():
        running.sandbox.faults.add(case.at(rpc.operation))
        failure = await failure_of(rpc.call(running))
        assert (failure.code, failure.reason, failure.outcome) == (case.code, case.reason, case.outcome), rpc.name
        assert failure.retry_seconds == case.retry_seconds
        assert failure.metadata["upstream_status"] == str(case.fault.status or 502)
        assert running.sandbox.faults.take(rpc.operation) is None


@every_rpc
@pytest.mark.parametrize("fault", [Fault(drop=Drop.BEFORE), Fault(drop=Drop.AFTER), Fault(truncate=True)], ids=repr)
async def test_repeatedly_lost_responses_are_reported(running: Running, rpc: Rpc, fault: Fault) -> None:
    happened(running.sandbox, 1)
    running.sandbox.faults.add(replace(fault, operation=rpc.operation, times=MAX_SENT))

    failure = await failure_of(rpc.call(running))

    assert (failure.code, failure.reason, failure.outcome) == (_Code.UNKNOWN, "UPSTREAM_NO_ANSWER", "UNKNOWN")


@pytest.mark.parametrize("case", TOKEN_REJECTIONS.values(), ids=TOKEN_REJECTIONS.keys())
async def test_without_a_token_nothing_is_sent(running: Running, case: Case) -> None:
    for rpc in RPCS.values():
        running.sandbox.faults.add(case.at(Operation.GET_TOKEN))
        running.sandbox.faults.add(Fault(rpc.operation, status=500))
        failure = await failure_of(rpc.call(running))
        assert (failure.code, failure.reason, failure.outcome) == (case.code, case.reason, "NOT_SENT"), rpc.name
        assert failure.retry_seconds == case.retry_seconds
        assert running.sandbox.faults.take(rpc.operation) is not None, "the call was made"


@every_rpc
@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"operations":[{}],"remainingOperations":0}',
        '{"operations":[],"remainingOperations":1}',
        '{"operationId":"op-2","operation":"3DS_FRICTIONLESS","status":"SUCCESSFUL","startTime":"now"}',
    ],
)
async def test_an_unreadable_response_breaks_the_contract(running: Running, rpc: Rpc, body: str) -> None:
    running.sandbox.faults.add(Fault(rpc.operation, status=200, body=body))

    failure = await failure_of(rpc.call(running))

    assert (failure.code, failure.reason, failure.outcome) == (_Code.INTERNAL, "UPSTREAM_CONTRACT", "UNKNOWN")


async def test_a_deadline_that_passes_while_d1_works_is_reported(running: Running) -> None:
    for rpc in RPCS.values():
        running.sandbox.faults.add(Fault(rpc.operation, latency_ms=_HANGS))
    failures = await asyncio.gather(*(failure_of(rpc.call(running, timeout=1.0)) for rpc in RPCS.values()))
    seen = {(failure.code, failure.reason) for failure in failures}
    assert seen == {(_Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")}


async def test_a_d1_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "keys") as gone:
        used = settings_for(gone, tmp_path)
    async with running_gateway(gone, used) as running:
        for rpc in RPCS.values():
            failure = await failure_of(rpc.call(running))
            assert (failure.code, failure.reason) == (_Code.UNAVAILABLE, "UPSTREAM_UNREACHABLE")
            assert (failure.outcome, failure.retry_seconds) == ("NOT_SENT", 1.0)


@pytest.mark.parametrize(
    ("rpc", "fields", "wrong"),
    [
        (LIST, {"card_id": None}, "card_id"),
        (LIST, {"card_id": "a/b"}, "card_id"),
        (LIST, {"page_size": 51}, "page_size"),
        (LIST, {"page_token": "A" * 513}, "page_token"),
        (LIST, {"issuer_id": "short"}, "issuer_id"),
        (GET, {"card_id": "x" * 49}, "card_id"),
        (GET, {"operation_id": None}, "operation_id"),
        (GET, {"operation_id": "../op-1"}, "operation_id"),
        (GET, {"issuer_id": "short"}, "issuer_id"),
    ],
)
async def test_a_wrong_field_is_named(running: Running, rpc: Rpc, fields: dict[str, Any], wrong: str) -> None:
    failure = await _refused(running, rpc, **fields)
    assert (failure.code, failure.reason) == (_Code.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert set(failure.violations) == {wrong}


@every_rpc
async def test_the_issuer_has_to_be_one_that_is_served(running_two: Running, rpc: Rpc) -> None:
    happened(running_two.sandbox, 1)
    unknown = await _refused(running_two, rpc, issuer_id="NOBODY0001")
    assert (unknown.code, unknown.reason) == (_Code.NOT_FOUND, "ISSUER_UNKNOWN")
    unnamed = await _refused(running_two, rpc)
    assert (unnamed.code, unnamed.reason) == (_Code.INVALID_ARGUMENT, "ISSUER_REQUIRED")
    await rpc.call(running_two, changed(rpc.request, issuer_id="SANDBOX001"))
