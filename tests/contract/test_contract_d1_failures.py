"""Each rpc's error when D1 fails, and whether D1 may have acted."""

from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from sandbox import Sandbox
from sandbox.common.faults import Drop, Fault
from sandbox.d1.model.contract import Operation
from tests.contract.card_rpcs import RPCS, Rpc
from tests.contract.consumer_rpcs import known
from tests.contract.d1_failures import MAX_SENT, REJECTIONS, TOKEN_REJECTIONS, Case
from tests.contract.d1_rpcs import D1_RPCS, OPERATION_RPCS, make_ready
from tests.running import Running, failure_of, running_gateway, settings_for

_Code = grpc.StatusCode
every_rpc = pytest.mark.parametrize("rpc", D1_RPCS.values(), ids=D1_RPCS.keys())


@pytest.fixture(autouse=True)
async def _ready(sandbox: Sandbox) -> None:
    make_ready(sandbox)


@pytest.mark.parametrize("case", REJECTIONS.values(), ids=REJECTIONS.keys())
async def test_each_response_of_d1_reaches_the_caller(running: Running, case: Case) -> None:
    before = known(running.sandbox)
    status = case.fault.status or 502
    for rpc in D1_RPCS.values():
        # A new token that D1 rejects at once would not be replaced.
        await OPERATION_RPCS["ListThreeDSOperations"].call(running)
        running.sandbox.faults.add(case.at(rpc.operation, idempotent=rpc.is_idempotent))
        failure = await failure_of(rpc.call(running))
        assert failure.error == case.error, rpc.name
        assert (failure.detail.upstream, failure.detail.upstream_status) == ("d1", status)
        assert running.sandbox.faults.take(rpc.operation) is None
        assert known(running.sandbox) == before
    await RPCS["SuspendCard"].call(running)
    assert known(running.sandbox) != before


@every_rpc
@pytest.mark.parametrize("fault", [Fault(drop=Drop.BEFORE), Fault(drop=Drop.AFTER), Fault(truncate=True)], ids=repr)
async def test_a_lost_response_leaves_the_outcome_unknown(running: Running, rpc: Rpc, fault: Fault) -> None:
    before = known(running.sandbox)
    running.sandbox.faults.add(replace(fault, operation=rpc.operation, times=MAX_SENT))
    failure = await failure_of(rpc.call(running))
    assert failure.error == (_Code.UNKNOWN, "UPSTREAM_NO_RESPONSE", "UNKNOWN", None)
    acted = fault.drop is not Drop.BEFORE and rpc.name not in OPERATION_RPCS
    assert (known(running.sandbox) != before) is acted
    left = 0
    while running.sandbox.faults.take(rpc.operation) is not None:
        left += 1
    assert 1 <= MAX_SENT - left <= (MAX_SENT if rpc.is_idempotent else 1)


@pytest.mark.parametrize("case", TOKEN_REJECTIONS.values(), ids=TOKEN_REJECTIONS.keys())
async def test_without_a_token_nothing_is_sent(sandbox: Sandbox, tmp_path: Path, case: Case) -> None:
    before = known(sandbox)
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running:
        for rpc in D1_RPCS.values():
            sandbox.faults.add(case.at(Operation.GET_TOKEN, idempotent=True))
            sandbox.faults.add(Fault(rpc.operation, status=500))
            failure = await failure_of(rpc.call(running))
            assert failure.error == case.error._replace(outcome="NOT_SENT"), rpc.name
            assert sandbox.faults.take(rpc.operation) is not None, "the call was made"
        assert known(sandbox) == before
        await RPCS["SuspendCard"].call(running)
        assert known(sandbox) != before


@every_rpc
async def test_a_token_that_d1_forgot_is_replaced_unnoticed(running: Running, rpc: Rpc) -> None:
    await OPERATION_RPCS["ListThreeDSOperations"].call(running)
    before = known(running.sandbox)
    running.sandbox.tokens.expire_all()
    await rpc.call(running)
    assert (known(running.sandbox) != before) is (rpc.name not in OPERATION_RPCS)


_UNREADABLE = ("", "no JSON", "[]", "{}")
_CARD_BODIES = ('{"cardId":1}', '{"cardId":""}', '{"cardId":"a/b"}', "[" * 10_000)
_HISTORY_BODIES = (
    '{"operations":{},"remainingOperations":0}',
    '{"operations":[],"remainingOperations":1}',
    '{"operationId":"op-2","operation":"3DS_FRICTIONLESS","status":"SUCCESSFUL","startTime":"now"}',
)


@pytest.mark.parametrize(
    ("name", "status", "bodies"),
    [
        ("CreateCard", 201, (*_UNREADABLE, *_CARD_BODIES)),
        ("ListThreeDSOperations", 200, (*_UNREADABLE, *_HISTORY_BODIES)),
        ("GetThreeDSOperation", 200, (*_UNREADABLE, *_HISTORY_BODIES)),
    ],
)
async def test_an_unreadable_response_breaks_the_contract(
    running: Running, name: str, status: int, bodies: tuple[str, ...]
) -> None:
    rpc = D1_RPCS[name]
    for body in bodies:
        running.sandbox.faults.add(Fault(rpc.operation, status=status, body=body, times=3))
        failure = await failure_of(rpc.call(running))
        running.sandbox.faults.clear()
        assert (failure.code, failure.reason, failure.outcome) == (_Code.INTERNAL, "UPSTREAM_CONTRACT", "UNKNOWN"), body


async def test_d1s_error_text_is_passed_on_without_numbers_and_tokens(running: Running) -> None:
    body = '{"errorCode":"SOME_CODE","error":"card 4970 1012 3456 7890 of eyJhbGciOiJub25lIn0.e30. it is\\u0007odd"}'
    running.sandbox.faults.add(Fault(Operation.DELETE_CARD, status=403, body=body))
    failure = await failure_of(RPCS["DeleteCard"].call(running))
    assert failure.detail.upstream_code == "SOME_CODE"
    assert "it is odd" in failure.message
    assert not {"4970", "7890", "eyJ"} & set(failure.message.replace(".", " ").split())


@pytest.mark.parametrize(
    ("name", "error", "field"),
    [
        ("RegisterCard", "cardProductId", "card_product_id"),
        ("RegisterConsumer", "mobilePhoneNumber.phoneNumber", "mobile_phone_number.phone_number"),
    ],
)
async def test_a_field_that_d1_finds_wrong_is_named_in_the_contracts_words_and_not_repeated(
    running: Running, name: str, error: str, field: str
) -> None:
    body = f'{{"errorCode":"FIELD_INVALID_FORMAT","error":"{error}"}}'
    running.sandbox.faults.add(Fault(D1_RPCS[name].operation, status=400, body=body))
    failure = await failure_of(D1_RPCS[name].call(running))
    assert failure.reason == "UPSTREAM_INVALID"
    assert failure.violations == {field: "FIELD_INVALID_FORMAT"}
    assert not [value for value in ("791234567", "4970101234567890") if value in repr(failure)]
