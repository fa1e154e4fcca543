"""ConsumerService: the effects of its rpcs at D1, and every documented error."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from issuer.consumer.v1 import messages_pb2 as consumer
from sandbox import Sandbox
from sandbox.common.faults import Drop, Fault
from sandbox.d1.model.contract import CardState, Operation
from tests.contract.card_rpcs import Rpc, changed
from tests.contract.consumer_rpcs import RPCS, enrol, known
from tests.contract.d1_failures import MAX_SENT, REJECTIONS, TOKEN_REJECTIONS, Case, is_idempotent
from tests.running import SECOND_ISSUER, Failure, Running, failure_of, running_gateway, settings_for

_Code = grpc.StatusCode
_HANGS = 30_000
"""The longest time that the simulator may hold a call, in milliseconds."""
every_rpc = pytest.mark.parametrize("rpc", RPCS.values(), ids=RPCS.keys())


@pytest.fixture
async def enrolled(running: Running) -> AsyncIterator[Running]:
    """A gateway with a D1 where consumer-1 has an authenticator."""
    enrol(running.sandbox)
    yield running
    assert running.sandbox.background.errors == []


async def _refused(running: Running, rpc: Rpc, request: Message) -> Failure:
    """Make a call that must send nothing."""
    running.sandbox.faults.add(Fault(status=500))
    failure = await failure_of(rpc.call(running, request))
    assert running.sandbox.faults.take(None) is not None, "D1 was called"
    assert (failure.outcome, failure.retry_seconds) == ("NOT_SENT", None)
    return failure


async def test_an_authenticator_is_removed_once(enrolled: Running) -> None:
    assert await RPCS["DeleteCredentials"].call(enrolled) == consumer.DeleteCredentialsResponse()
    assert enrolled.sandbox.authenticators.all() == {}

    failure = await failure_of(RPCS["DeleteCredentials"].call(enrolled))
    assert (failure.code, failure.reason, failure.outcome) == (_Code.NOT_FOUND, "UPSTREAM_NOT_FOUND", "REJECTED")
    assert failure.metadata["upstream_status"] == "404"


async def test_a_consumer_is_registered_with_what_is_said_of_the_person(enrolled: Running) -> None:
    for _ in range(2):
        assert await RPCS["RegisterConsumer"].call(enrolled) == consumer.RegisterConsumerResponse()

    kept = enrolled.sandbox.store.personal_information("consumer-1")
    assert kept is not None
    assert kept.fields == {
        "language": "en-US",
        "firstName": "Zoë",
        "mobilePhoneNumber": {"countryCode": "+962", "phoneNumber": "791234567"},
        "residencyAddress": {"city": "Amman", "countryCode": "JO"},
    }


async def test_a_consumer_can_be_registered_without_personal_data(running: Running) -> None:
    await RPCS["RegisterConsumer"].call(running, consumer.RegisterConsumerRequest(consumer_id="consumer-9"))

    assert running.sandbox.store.personal_information("consumer-9") is None


async def test_a_consumer_is_deleted_once_and_all_that_it_had_goes_with_it(enrolled: Running) -> None:
    assert await RPCS["DeleteConsumer"].call(enrolled) == consumer.DeleteConsumerResponse()
    assert {card.state for card in enrolled.sandbox.store.cards()} == {CardState.DELETED}
    assert enrolled.sandbox.authenticators.all() == {}

    failure = await failure_of(RPCS["DeleteConsumer"].call(enrolled))
    assert (failure.code, failure.reason, failure.outcome) == (_Code.NOT_FOUND, "UPSTREAM_NOT_FOUND", "REJECTED")


@pytest.mark.parametrize("case", REJECTIONS.values(), ids=REJECTIONS.keys())
async def test_each_response_of_d1_reaches_the_caller(enrolled: Running, case: Case) -> None:
    sandbox = enrolled.sandbox
    before = known(sandbox)
    for rpc in RPCS.values():
        sandbox.faults.add(case.at(rpc.operation))
        failure = await failure_of(rpc.call(enrolled))
        assert (failure.code, failure.reason, failure.outcome) == (case.code, case.reason, case.outcome), rpc.name
        assert failure.retry_seconds == case.retry_seconds
        assert failure.metadata["upstream_status"] == str(case.fault.status or 502)
        assert sandbox.faults.take(rpc.operation) is None
    assert known(sandbox) == before


@every_rpc
@pytest.mark.parametrize("fault", [Fault(drop=Drop.BEFORE), Fault(drop=Drop.AFTER), Fault(truncate=True)], ids=repr)
async def test_a_lost_response_leaves_the_outcome_unknown(enrolled: Running, rpc: Rpc, fault: Fault) -> None:
    before = known(enrolled.sandbox)
    enrolled.sandbox.faults.add(replace(fault, operation=rpc.operation, times=MAX_SENT))
    failure = await failure_of(rpc.call(enrolled))
    assert (failure.code, failure.reason, failure.outcome) == (_Code.UNKNOWN, "UPSTREAM_NO_ANSWER", "UNKNOWN")
    assert failure.retry_seconds is None
    assert (known(enrolled.sandbox) != before) is (fault.drop is not Drop.BEFORE)
    left = 0
    while enrolled.sandbox.faults.take(rpc.operation) is not None:
        left += 1
    assert 1 <= MAX_SENT - left <= (MAX_SENT if is_idempotent(rpc.operation) else 1)


@pytest.mark.parametrize("case", TOKEN_REJECTIONS.values(), ids=TOKEN_REJECTIONS.keys())
async def test_without_a_token_nothing_is_sent(enrolled: Running, case: Case) -> None:
    before = known(enrolled.sandbox)
    for rpc in RPCS.values():
        enrolled.sandbox.faults.add(case.at(Operation.GET_TOKEN))
        enrolled.sandbox.faults.add(Fault(rpc.operation, status=500))
        failure = await failure_of(rpc.call(enrolled))
        assert (failure.code, failure.reason, failure.outcome) == (case.code, case.reason, "NOT_SENT"), rpc.name
        assert failure.retry_seconds == case.retry_seconds
        assert enrolled.sandbox.faults.take(rpc.operation) is not None, "the call was made"
    assert known(enrolled.sandbox) == before


async def test_a_deadline_that_passes_while_d1_works_leaves_the_outcome_unknown(enrolled: Running) -> None:
    for rpc in RPCS.values():
        enrolled.sandbox.faults.add(Fault(rpc.operation, latency_ms=_HANGS))
    failures = await asyncio.gather(*(failure_of(rpc.call(enrolled, timeout=1.0)) for rpc in RPCS.values()))
    seen = {(failure.code, failure.reason, failure.outcome) for failure in failures}
    assert seen == {(_Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "UNKNOWN")}


async def test_a_d1_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "keys") as gone:
        used = settings_for(gone, tmp_path)
    async with running_gateway(gone, used) as running:
        for rpc in RPCS.values():
            failure = await failure_of(rpc.call(running))
            assert (failure.code, failure.reason) == (_Code.UNAVAILABLE, "UPSTREAM_UNREACHABLE")
            assert (failure.outcome, failure.retry_seconds) == ("NOT_SENT", 1.0)


async def test_a_field_that_d1_finds_wrong_is_named_in_the_contracts_words_and_not_repeated(running: Running) -> None:
    body = '{"errorCode":"FIELD_INVALID_FORMAT","error":"mobilePhoneNumber.phoneNumber"}'
    running.sandbox.faults.add(Fault(Operation.REGISTER_CONSUMER, status=400, body=body))
    failure = await failure_of(RPCS["RegisterConsumer"].call(running))
    assert failure.reason == "UPSTREAM_INVALID"
    assert failure.violations == {"mobile_phone_number.phone_number": "FIELD_INVALID_FORMAT"}
    assert "791234567" not in repr(failure)


@pytest.mark.parametrize(
    ("name", "fields", "wrong"),
    [
        ("DeleteCredentials", {"app_instance_id": None}, "app_instance_id"),
        ("DeleteCredentials", {"app_instance_id": "a/b"}, "app_instance_id"),
        ("DeleteCredentials", {"reason": "It's gone"}, "reason"),
        ("DeleteCredentials", {"reason": "x" * 65}, "reason"),
        ("DeleteCredentials", {"reason_code": 3}, "reason_code"),
        ("RegisterConsumer", {"consumer_id": None}, "consumer_id"),
        ("RegisterConsumer", {"consumer_id": "x" * 65}, "consumer_id"),
        ("RegisterConsumer", {"user_id": "first last"}, "user_id"),
        ("DeleteConsumer", {"consumer_id": None}, "consumer_id"),
        ("DeleteConsumer", {"reason": "no!"}, "reason"),
        ("DeleteConsumer", {"reason_code": 3}, "reason_code"),
        *[(name, {"issuer_id": "short"}, "issuer_id") for name in RPCS],
        *[(name, {"request_id": "no-uuid"}, "request_id") for name in RPCS],
    ],
)
async def test_a_wrong_field_is_named(running: Running, name: str, fields: dict[str, Any], wrong: str) -> None:
    failure = await _refused(running, RPCS[name], changed(RPCS[name].request, **fields))
    assert (failure.code, failure.reason) == (_Code.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert set(failure.violations) == {wrong}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("language", "english"),
        ("first_name", "Zoë!"),
        ("title", "x" * 41),
        ("date_of_birth", "25.01.1990"),
        ("email", "nowhere"),
    ],
)
async def test_wrong_personal_data_are_named_and_not_repeated(running: Running, field: str, value: str) -> None:
    request = changed(RPCS["RegisterConsumer"].request)
    setattr(request.personal_information, field, value)
    failure = await _refused(running, RPCS["RegisterConsumer"], request)
    assert set(failure.violations) == {f"personal_information.{field}"}
    assert value not in repr(failure)


@every_rpc
async def test_the_issuer_has_to_be_one_that_is_served(running_two: Running, rpc: Rpc) -> None:
    enrol(running_two.sandbox)
    unknown = await _refused(running_two, rpc, changed(rpc.request, issuer_id="NOBODY0001"))
    assert (unknown.code, unknown.reason) == (_Code.NOT_FOUND, "ISSUER_UNKNOWN")
    unnamed = await _refused(running_two, rpc, rpc.request)
    assert (unnamed.code, unnamed.reason) == (_Code.INVALID_ARGUMENT, "ISSUER_REQUIRED")
    refused = await failure_of(rpc.call(running_two, changed(rpc.request, issuer_id=SECOND_ISSUER)))
    assert (refused.reason, refused.outcome) == ("UPSTREAM_AUTHENTICATION", "NOT_SENT")
    await rpc.call(running_two, changed(rpc.request, issuer_id="SANDBOX001"))
