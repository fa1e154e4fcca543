"""CardService: violations of D1's own rules, reported as each rpc documents."""

from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from sandbox.d1.model.contract import CardState
from tests.contract.card_rpcs import ACTIVE_PAN, RPCS, SUSPENDED_PAN, changed, credentials
from tests.running import Failure, Running, failure_of

_CODES = {
    "UPSTREAM_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
    "UPSTREAM_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "UPSTREAM_FORBIDDEN": grpc.StatusCode.FAILED_PRECONDITION,
    "UPSTREAM_CONFLICT": grpc.StatusCode.ALREADY_EXISTS,
}
_ENCRYPTED_FOR_ANOTHER = "eyJh..aXY.Y2lwaGVy.dGFn"
_OTHER_PAN = "4970101234567890"
_CASES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("CreateCard", "UPSTREAM_NOT_FOUND", {"consumer_id": "nobody"}),
    ("CreateCard", "UPSTREAM_INVALID", {"card_product_id": "unknown"}),
    # Cards of this product can only be created.
    ("RegisterCard", "UPSTREAM_FORBIDDEN", {"card_product_id": "full"}),
    ("RegisterCard", "UPSTREAM_INVALID", {"card_product_id": "unknown"}),
    ("RegisterCard", "UPSTREAM_CONFLICT", {"card_id": "card-active"}),
    ("RegisterCard", "UPSTREAM_CONFLICT", {"credentials": credentials(ACTIVE_PAN)}),
    ("RegisterCard", "UPSTREAM_INVALID", {"credentials": None, "encrypted_data": _ENCRYPTED_FOR_ANOTHER}),
    ("RenewCard", "UPSTREAM_NOT_FOUND", {"card_id": "nobody"}),
    ("RenewCard", "UPSTREAM_CONFLICT", {"new_card_id": "card-suspended"}),
    ("RenewCard", "UPSTREAM_INVALID", {"credentials": credentials(_OTHER_PAN)}),
    ("ReplaceCard", "UPSTREAM_NOT_FOUND", {"card_id": "nobody"}),
    ("ReplaceCard", "UPSTREAM_CONFLICT", {"new_card_id": "card-suspended"}),
    ("ReplaceCard", "UPSTREAM_CONFLICT", {"credentials": credentials(SUSPENDED_PAN)}),
    ("DeleteCard", "UPSTREAM_NOT_FOUND", {"card_id": "nobody"}),
    ("SuspendCard", "UPSTREAM_NOT_FOUND", {"card_id": "nobody"}),
    ("SuspendCard", "UPSTREAM_FORBIDDEN", {"card_id": "card-suspended"}),
    ("ResumeCard", "UPSTREAM_NOT_FOUND", {"card_id": "nobody"}),
    ("ResumeCard", "UPSTREAM_FORBIDDEN", {"card_id": "card-active"}),
    # A word that D1 does not know.
    ("SuspendCard", "UPSTREAM_FORBIDDEN", {"reason_code": "SOMETHING_NEW"}),
    ("ResumeCard", "UPSTREAM_FORBIDDEN", {"reason_code": "SOMETHING_NEW"}),
    # A reason that does not lift the suspension.
    ("ResumeCard", "UPSTREAM_FORBIDDEN", {"reason_code": "USER_DECISION"}),
)
"""Changes to a request that make D1 reject it after `prepare`, and the reason."""


async def _refused(running: Running, name: str, request: Message) -> Failure:
    before = running.sandbox.store.cards()
    failure = await failure_of(RPCS[name].call(running, request))
    assert running.sandbox.store.cards() == before
    assert failure.code is _CODES[failure.reason]
    assert (failure.outcome, failure.retry_seconds) == ("REJECTED", None)
    return failure


@pytest.mark.parametrize(("name", "reason", "fields"), _CASES)
async def test_d1_refuses_and_nothing_changes(running: Running, name: str, reason: str, fields: dict[str, Any]) -> None:
    assert (await _refused(running, name, changed(RPCS[name].request, **fields))).reason == reason


@pytest.mark.parametrize("ended", ["DeleteCard", "ReplaceCard"])
@pytest.mark.parametrize("name", ["RenewCard", "ReplaceCard", "DeleteCard", "SuspendCard"])
async def test_what_has_ended_allows_no_further_step(running: Running, ended: str, name: str) -> None:
    await RPCS[ended].call(running)
    request = changed(RPCS[name].request, new_card_id=None) if name == "ReplaceCard" else RPCS[name].request
    assert (await _refused(running, name, request)).reason == "UPSTREAM_FORBIDDEN"


@pytest.mark.parametrize("ended", ["DeleteCard", "ReplaceCard"])
async def test_a_pan_that_has_ended_never_comes_back(running: Running, ended: str) -> None:
    await RPCS[ended].call(running)
    request = changed(RPCS["RegisterCard"].request, credentials=credentials(ACTIVE_PAN))
    assert (await _refused(running, "RegisterCard", request)).reason == "UPSTREAM_CONFLICT"


async def test_a_renewal_to_a_new_id_finds_the_old_one_gone_the_second_time(running: Running) -> None:
    request = changed(RPCS["RenewCard"].request, new_card_id="card-moved")
    await RPCS["RenewCard"].call(running, request)
    assert (await _refused(running, "RenewCard", request)).reason == "UPSTREAM_NOT_FOUND"


async def test_a_replacement_under_the_old_id_replaces_the_new_card_the_second_time(running: Running) -> None:
    request = changed(RPCS["ReplaceCard"].request, new_card_id=None, credentials=None)
    await RPCS["ReplaceCard"].call(running, request)
    first = running.sandbox.store.card("card-active")
    await RPCS["ReplaceCard"].call(running, request)
    assert running.sandbox.store.card("card-active") is not first
    with_pan = changed(RPCS["ReplaceCard"].request, new_card_id=None)
    await RPCS["ReplaceCard"].call(running, with_pan)
    assert (await _refused(running, "ReplaceCard", with_pan)).reason == "UPSTREAM_CONFLICT"


@pytest.mark.parametrize("name", ["DeleteCard", "SuspendCard", "ResumeCard"])
async def test_what_is_not_idempotent_is_refused_the_second_time(running: Running, name: str) -> None:
    await RPCS[name].call(running)
    assert (await _refused(running, name, RPCS[name].request)).reason == "UPSTREAM_FORBIDDEN"


async def test_an_id_that_has_ended_takes_another_pan(running: Running) -> None:
    await RPCS["DeleteCard"].call(running)
    await RPCS["RegisterCard"].call(running, changed(RPCS["RegisterCard"].request, card_id="card-active"))
    assert running.sandbox.store.card("card-active").state is CardState.ACTIVE
