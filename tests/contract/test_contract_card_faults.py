"""CardService: each rpc's error when D1 fails, and whether D1 may have acted."""

from dataclasses import replace

import grpc
import pytest

from sandbox.common.faults import Drop, Fault
from sandbox.d1.model.contract import Operation
from tests.contract.card_rpcs import RPCS, Rpc, changed, credentials
from tests.contract.d1_failures import MAX_SENT, REJECTIONS, TOKEN_REJECTIONS, Case, is_idempotent
from tests.running import Running, failure_of

_Code = grpc.StatusCode
every_rpc = pytest.mark.parametrize("rpc", RPCS.values(), ids=RPCS.keys())


@pytest.mark.parametrize("case", REJECTIONS.values(), ids=REJECTIONS.keys())
async def test_each_response_of_d1_reaches_the_caller(running: Running, case: Case) -> None:
    before = running.sandbox.store.cards()
    status = case.fault.status or 502
    for rpc in RPCS.values():
        running.sandbox.faults.add(case.at(rpc.operation))
        failure = await failure_of(rpc.call(running))
        assert (failure.code, failure.reason, failure.outcome) == (case.code, case.reason, case.outcome), rpc.name
        assert failure.retry_seconds == case.retry_seconds
        assert (failure.metadata["upstream"], failure.metadata["upstream_status"]) == ("d1", str(status))
        assert running.sandbox.faults.take(rpc.operation) is None
        assert running.sandbox.store.cards() == before
    await RPCS["SuspendCard"].call(running)
    assert running.sandbox.store.cards() != before


@every_rpc
@pytest.mark.parametrize("fault", [Fault(drop=Drop.BEFORE), Fault(drop=Drop.AFTER), Fault(truncate=True)], ids=repr)
async def test_a_lost_response_leaves_the_outcome_unknown(running: Running, rpc: Rpc, fault: Fault) -> None:
    before = running.sandbox.store.cards()
    running.sandbox.faults.add(replace(fault, operation=rpc.operation, times=MAX_SENT))
    failure = await failure_of(rpc.call(running))
    assert (failure.code, failure.reason, failure.outcome) == (_Code.UNKNOWN, "UPSTREAM_NO_ANSWER", "UNKNOWN")
    assert failure.retry_seconds is None
    acted = fault.drop is not Drop.BEFORE
    assert (running.sandbox.store.cards() != before) is acted
    left = 0
    while running.sandbox.faults.take(rpc.operation) is not None:
        left += 1
    assert 1 <= MAX_SENT - left <= (MAX_SENT if is_idempotent(rpc.operation) else 1)


@pytest.mark.parametrize("case", TOKEN_REJECTIONS.values(), ids=TOKEN_REJECTIONS.keys())
async def test_without_a_token_nothing_is_sent(running: Running, case: Case) -> None:
    before = running.sandbox.store.cards()
    for rpc in RPCS.values():
        running.sandbox.faults.add(case.at(Operation.GET_TOKEN))
        running.sandbox.faults.add(Fault(rpc.operation, status=500))
        failure = await failure_of(rpc.call(running))
        assert (failure.code, failure.reason, failure.outcome) == (case.code, case.reason, "NOT_SENT"), rpc.name
        assert failure.retry_seconds == case.retry_seconds
        assert running.sandbox.faults.take(rpc.operation) is not None, "the call was made"
    assert running.sandbox.store.cards() == before
    await RPCS["SuspendCard"].call(running)
    assert running.sandbox.store.cards() != before


@every_rpc
async def test_a_token_that_d1_forgot_is_replaced_unnoticed(running: Running, rpc: Rpc) -> None:
    register = RPCS["RegisterCard"]
    await register.call(running, changed(register.request, card_id="card-other", credentials=credentials("4" * 16)))
    before = running.sandbox.store.cards()
    running.sandbox.tokens.expire_all()
    await rpc.call(running)
    assert running.sandbox.store.cards() != before


@pytest.mark.parametrize(
    "body", ["", "{}", "[]", "no JSON", '{"cardId":1}', '{"cardId":""}', '{"cardId":"a/b"}', "[" * 10_000]
)
async def test_a_made_card_without_its_id_breaks_the_contract(running: Running, body: str) -> None:
    running.sandbox.faults.add(Fault(Operation.CREATE_CARD, status=201, body=body))
    failure = await failure_of(RPCS["CreateCard"].call(running))
    assert (failure.code, failure.reason, failure.outcome) == (_Code.INTERNAL, "UPSTREAM_CONTRACT", "UNKNOWN")


async def test_d1s_error_text_is_passed_on_without_numbers_and_tokens(running: Running) -> None:
    body = '{"errorCode":"SOME_CODE","error":"card 4970 1012 3456 7890 of eyJhbGciOiJub25lIn0.e30. it is\\u0007odd"}'
    running.sandbox.faults.add(Fault(Operation.DELETE_CARD, status=403, body=body))
    failure = await failure_of(RPCS["DeleteCard"].call(running))
    assert failure.metadata["upstream_code"] == "SOME_CODE"
    assert "it is odd" in failure.message
    assert not {"4970", "7890", "eyJ"} & set(failure.message.replace(".", " ").split())


async def test_a_field_that_d1_finds_wrong_is_named_in_the_contracts_words(running: Running) -> None:
    body = '{"errorCode":"FIELD_INVALID_FORMAT","error":"cardProductId"}'
    running.sandbox.faults.add(Fault(Operation.REGISTER_CARD, status=400, body=body))
    failure = await failure_of(RPCS["RegisterCard"].call(running))
    assert failure.reason == "UPSTREAM_INVALID"
    assert failure.violations == {"card_product_id": "FIELD_INVALID_FORMAT"}
