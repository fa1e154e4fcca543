"""CardService: violations of D1's own rules, reported as each rpc documents."""

from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.message import Message

from issuer.card.v1 import messages_pb2 as card
from sandbox.d1.model.contract import CardState
from tests.contract.card_rpcs import ACTIVE_PAN, RPCS, SUSPENDED_PAN, changed, credentials
from tests.running import Failure, Running, failure_of

_CODES = {
    "UPSTREAM_INVALID": grpc.StatusCode.INVALID_ARGUMENT,
    "UPSTREAM_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "UPSTREAM_FORBIDDEN": grpc.StatusCode.FAILED_PRECONDITION,
    "UPSTREAM_CONFLICT": grpc.StatusCode.ALREADY_EXISTS,
}
_CREATE, _REGISTER, _RENEW, _REPLACE, _DELETE, _SUSPEND, _RESUME = (rpc.request for rpc in RPCS.values())


@dataclass(frozen=True, slots=True)
class _Case:
    """A request that D1 rejects after `prepare`, and the reason."""

    name: str
    request: Message
    reason: str


_CASES = {
    "create for an unknown consumer": _Case("CreateCard", changed(_CREATE, consumer_id="nobody"), "UPSTREAM_NOT_FOUND"),
    "create of an unknown product": _Case(
        "CreateCard", changed(_CREATE, card_product_id="unknown"), "UPSTREAM_INVALID"
    ),
    "register of a product that takes none": _Case(
        "RegisterCard", changed(_REGISTER, card_product_id="full"), "UPSTREAM_FORBIDDEN"
    ),
    "register of an unknown product": _Case(
        "RegisterCard", changed(_REGISTER, card_product_id="unknown"), "UPSTREAM_INVALID"
    ),
    "register under the id of a live card": _Case(
        "RegisterCard", changed(_REGISTER, card_id="card-active"), "UPSTREAM_CONFLICT"
    ),
    "register of a live card's PAN": _Case(
        "RegisterCard", changed(_REGISTER, credentials=credentials(ACTIVE_PAN)), "UPSTREAM_CONFLICT"
    ),
    "register of card data that D1 cannot decrypt": _Case(
        "RegisterCard",
        changed(_REGISTER, credentials=None, encrypted_data="eyJh..aXY.Y2lwaGVy.dGFn"),
        "UPSTREAM_INVALID",
    ),
    "renew of an unknown card": _Case("RenewCard", changed(_RENEW, card_id="nobody"), "UPSTREAM_NOT_FOUND"),
    "renew to an id that is taken": _Case(
        "RenewCard", changed(_RENEW, new_card_id="card-suspended"), "UPSTREAM_CONFLICT"
    ),
    "renew with another PAN": _Case(
        "RenewCard", changed(_RENEW, credentials=credentials("4970101234567890")), "UPSTREAM_INVALID"
    ),
    "replace of an unknown card": _Case("ReplaceCard", changed(_REPLACE, card_id="nobody"), "UPSTREAM_NOT_FOUND"),
    "replace to an id that is taken": _Case(
        "ReplaceCard", changed(_REPLACE, new_card_id="card-suspended"), "UPSTREAM_CONFLICT"
    ),
    "replace by a live card's PAN": _Case(
        "ReplaceCard", changed(_REPLACE, credentials=credentials(SUSPENDED_PAN)), "UPSTREAM_CONFLICT"
    ),
    "delete of an unknown card": _Case("DeleteCard", changed(_DELETE, card_id="nobody"), "UPSTREAM_NOT_FOUND"),
    "suspend of an unknown card": _Case("SuspendCard", changed(_SUSPEND, card_id="nobody"), "UPSTREAM_NOT_FOUND"),
    "suspend of a suspended card": _Case(
        "SuspendCard", changed(_SUSPEND, card_id="card-suspended"), "UPSTREAM_FORBIDDEN"
    ),
    "resume of an unknown card": _Case("ResumeCard", changed(_RESUME, card_id="nobody"), "UPSTREAM_NOT_FOUND"),
    "resume of an active card": _Case("ResumeCard", changed(_RESUME, card_id="card-active"), "UPSTREAM_FORBIDDEN"),
    "resume for a reason that does not lift it": _Case(
        "ResumeCard", changed(_RESUME, reason_code=card.RESUME_REASON_USER_DECISION), "UPSTREAM_FORBIDDEN"
    ),
}


async def _refused(running: Running, name: str, request: Message) -> Failure:
    before = running.sandbox.store.cards()
    failure = await failure_of(RPCS[name].call(running, request))
    assert running.sandbox.store.cards() == before
    assert failure.code is _CODES[failure.reason]
    assert (failure.outcome, failure.retry_seconds) == ("REJECTED", None)
    return failure


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES.keys())
async def test_d1_refuses_and_nothing_changes(running: Running, case: _Case) -> None:
    assert (await _refused(running, case.name, case.request)).reason == case.reason


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
    request = changed(_RENEW, new_card_id="card-moved")
    await RPCS["RenewCard"].call(running, request)
    assert (await _refused(running, "RenewCard", request)).reason == "UPSTREAM_NOT_FOUND"


@pytest.mark.parametrize("name", ["DeleteCard", "SuspendCard", "ResumeCard"])
async def test_what_is_not_idempotent_is_refused_the_second_time(running: Running, name: str) -> None:
    await RPCS[name].call(running)
    assert (await _refused(running, name, RPCS[name].request)).reason == "UPSTREAM_FORBIDDEN"


async def test_an_id_that_has_ended_takes_another_pan(running: Running) -> None:
    await RPCS["DeleteCard"].call(running)
    await RPCS["RegisterCard"].call(running, changed(_REGISTER, card_id="card-active"))
    assert running.sandbox.store.card("card-active").state is CardState.ACTIVE
