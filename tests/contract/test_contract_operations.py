"""ThreeDSOperationService: D1's history page by page."""

from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest

from issuer.threeds.v1 import history_pb2, operation_pb2
from sandbox.d1.model.notification import Notification, Variant, vary
from tests.contract.card_rpcs import Rpc, changed
from tests.contract.d1_rpcs import BEGIN, OPERATION_RPCS, happened, refused_unsent
from tests.running import SECOND_ISSUER, Running, failure_of

_Code = grpc.StatusCode
LIST, GET = OPERATION_RPCS.values()


async def _page(running: Running, **fields: Any) -> history_pb2.ListThreeDSOperationsResponse:
    page = await LIST.call(running, changed(LIST.request, **fields))
    assert isinstance(page, history_pb2.ListThreeDSOperationsResponse)
    return page


def _ids(page: history_pb2.ListThreeDSOperationsResponse) -> list[str]:
    return [operation.operation_id for operation in page.operations]


async def test_a_card_without_operations_has_an_empty_list(running: Running) -> None:
    assert await _page(running) == history_pb2.ListThreeDSOperationsResponse()


async def test_operations_are_listed_newest_first_ten_at_a_time(running: Running) -> None:
    happened(running.sandbox, *range(1, 13))
    happened(running.sandbox, 99, card_id="card-suspended")

    first = await _page(running)
    second = await _page(running, page_token=first.next_page_token)

    assert (_ids(first), first.remaining_operation_count) == ([f"op-{number}" for number in range(12, 2, -1)], 2)
    assert (_ids(second), second.remaining_operation_count, second.next_page_token) == (["op-2", "op-1"], 0, "")


async def test_every_field_of_an_operation_reaches_the_caller(running: Running) -> None:
    first = Notification("card-active", "op-1", BEGIN, operation="3DS_FRICTIONLESS", consumer_id="consumer-1")
    (known,), (more,), (other,) = (
        vary(variant, replace(first, operation_id=f"op-{variant}"), 1)
        for variant in (Variant.PLAIN, Variant.UNKNOWN_FIELDS, Variant.UNKNOWN_VALUES)
    )
    for each in (known, more, other):
        running.sandbox.history.add(each)

    values, fields, plain = (await _page(running)).operations

    assert (plain.type, plain.status) == (
        operation_pb2.THREE_DS_OPERATION_TYPE_FRICTIONLESS,
        operation_pb2.THREE_DS_OPERATION_STATUS_SUCCESSFUL,
    )
    assert (plain.start_time.ToDatetime(tzinfo=UTC), plain.consumer_id) == (BEGIN, "consumer-1")
    assert fields.unrecognized["unknownField"] == "of a later version"
    assert "unknownDetail" in fields.details.unrecognized
    assert (values.type, values.type_text) == (
        operation_pb2.THREE_DS_OPERATION_TYPE_UNSPECIFIED,
        "3DS_UNKNOWN_OPERATION",
    )
    assert (values.status, values.status_text) == (
        operation_pb2.THREE_DS_OPERATION_STATUS_UNSPECIFIED,
        "UNKNOWN_STATUS",
    )


async def test_one_operation_is_got_as_the_list_has_it(running: Running) -> None:
    happened(running.sandbox, 1, 2)

    answer = await GET.call(running)

    assert answer.operation == (await _page(running)).operations[1]
    assert answer.operation.details.acs_trans_id == "acs-1"


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
    old = Notification("card-active", "op-1", BEGIN - timedelta(days=365))
    running.sandbox.history.add(old)

    assert not (await _page(running)).operations
    assert (await failure_of(GET.call(running))).reason == "UPSTREAM_NOT_FOUND"


async def test_a_page_is_never_larger_than_fifty_operations(running: Running) -> None:
    happened(running.sandbox, *range(1, 52))

    page = await _page(running, page_size=1000)

    assert (len(page.operations), page.remaining_operation_count) == (50, 1)


async def test_a_page_token_is_good_for_its_own_list_only(running_two: Running) -> None:
    happened(running_two.sandbox, 1, 2)
    token = (await _page(running_two, issuer_id="SANDBOX001", page_size=1)).next_page_token
    for fields in (
        {"issuer_id": "SANDBOX001", "card_id": "card-suspended", "page_token": token},
        {"issuer_id": SECOND_ISSUER, "page_token": token},
        {"issuer_id": "SANDBOX001", "page_token": token[:-1]},
        {"issuer_id": "SANDBOX001", "page_token": token + "A"},
        {"issuer_id": "SANDBOX001", "page_token": "next"},
        {"issuer_id": "SANDBOX001", "page_token": "bm90IG91cnM"},
    ):
        failure = await refused_unsent(running_two, LIST, changed(LIST.request, **fields))
        assert (failure.code, failure.reason) == (_Code.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
        assert set(failure.violations) == {"page_token"}
    assert _ids(await _page(running_two, issuer_id="SANDBOX001", page_token=token)) == ["op-1"]
