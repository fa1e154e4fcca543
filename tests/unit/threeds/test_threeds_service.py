"""AuthenticationService before a 3DS server in memory: what is sent, what is refused, what is made ready."""

import re
import time
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor

from gateway.errors import GatewayError
from gateway.threeds.rules.codes import codes_of
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import areq_pb2, ares_pb2, codes_pb2, crd_pb2, objects_pb2, rreq_pb2, service_pb2_grpc
from issuer.threeds.v1 import messages_pb2 as threeds
from tests.running import failure_of
from tests.unit.threeds.threeds_port import ISSUER, FakeThreeDSServer, serving
from tests.unit.threeds.threeds_samples import good_areq

PAN = "9000100511111111"
TRANSACTION = "d461f105-1792-407f-95ff-9a496fd918a9"
VERSIONS = codes_of(codes_pb2.MessageVersion.DESCRIPTOR).numbers
CRD = crd_pb2.CRD(
    three_ds_server_trans_id=TRANSACTION,
    acs_start_protocol_version="2.1.0",
    acs_end_protocol_version="2.2.0",
    three_ds_method_url="https://acs.example/3ds",
)
FINAL = ares_pb2.ARes(three_ds_server_trans_id=TRANSACTION, trans_status=codes_pb2.TRANS_STATUS_NOT_AUTHENTICATED)


@pytest.fixture
def fake() -> FakeThreeDSServer:
    return FakeThreeDSServer(crd=CRD, ares=FINAL)


@pytest.fixture
async def stub(fake: FakeThreeDSServer) -> "AsyncIterator[service_pb2_grpc.AuthenticationServiceAsyncStub]":
    async with serving(fake) as served:
        yield served


def a_request(version: str = "2.2.0", channel: str = "02") -> threeds.AuthenticateRequest:
    """Make a request with a good value in every field that its version and channel have."""
    return threeds.AuthenticateRequest(areq=good_areq(version, channel))


async def test_a_lookup_says_all_that_an_authentication_needs(fake: FakeThreeDSServer, stub: Any) -> None:
    request = threeds.LookupCardRequest(
        acct_number=PAN, ds="visa", three_ds_method_notification_url="https://requestor.example/done"
    )
    began_ms = time.time() * 1000

    response = await stub.LookupCard(request)

    assert fake.received == [(PAN, "visa")]
    assert fake.calls[0].issuer_id == ISSUER
    assert response.enrolled
    assert response.message_version == codes_pb2.MESSAGE_VERSION_2_2_0
    assert response.three_ds_method.url == "https://acs.example/3ds"
    assert 0 <= response.expire_time.ToMilliseconds() - began_ms - 80_000 < 20_000


async def test_a_card_that_takes_no_part_is_no_error(fake: FakeThreeDSServer, stub: Any) -> None:
    fake.crd = None

    assert await stub.LookupCard(threeds.LookupCardRequest(acct_number=PAN)) == threeds.LookupCardResponse()


async def test_an_authentication_that_fails_is_a_call_that_succeeds(fake: FakeThreeDSServer, stub: Any) -> None:
    request = a_request()

    response = await stub.Authenticate(request)

    assert fake.received == [request.areq]
    assert response == threeds.AuthenticateResponse(ares=FINAL)


@pytest.mark.parametrize("version", sorted(VERSIONS))
@pytest.mark.parametrize("channel", ["01", "03"])
async def test_outside_of_a_browser_a_missing_transaction_id_is_made(
    fake: FakeThreeDSServer, stub: Any, version: str, channel: str
) -> None:
    request = a_request(version, channel)
    request.areq.three_ds_server_trans_id = ""

    await stub.Authenticate(request)
    await stub.Authenticate(request)

    first, second = (cast("areq_pb2.AReq", sent) for sent in fake.received)
    assert UUID(first.three_ds_server_trans_id).version == 4
    assert first.three_ds_server_trans_id != second.three_ds_server_trans_id
    first.three_ds_server_trans_id = ""
    assert first == request.areq


async def test_in_a_browser_the_transaction_id_has_to_come_from_a_lookup(fake: FakeThreeDSServer, stub: Any) -> None:
    request = a_request()
    request.areq.three_ds_server_trans_id = ""

    failure = await failure_of(stub.Authenticate(request))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert (failure.reason, failure.outcome) == ("INVALID_REQUEST", "NOT_SENT")
    assert failure.violations == {"areq.three_ds_server_trans_id": "emv.required"}
    assert fake.received == []


async def test_what_the_contract_and_what_emv_forbid_is_named_at_once(fake: FakeThreeDSServer, stub: Any) -> None:
    request = a_request()
    request.issuer_id = "SHORT"
    request.challenge_window_size = 77  # type: ignore[assignment]
    request.areq.acct_number = "secret"
    request.areq.browser_ip = "300.1.1.1"
    request.areq.mobile_phone.CopyFrom(objects_pb2.PhoneNumber(cc="+45", subscriber="12345678"))
    request.areq.ClearField("merchant_name")
    request.areq.three_ri_ind = "01"

    failure = await failure_of(stub.Authenticate(request))

    assert failure.violations == {
        "areq.acct_number": "emv.pattern",
        "areq.browser_ip": "emv.format.ip",
        "areq.mobile_phone.cc": "emv.pattern",
        "areq.merchant_name": "emv.required",
        "areq.three_ri_ind": "emv.scope",
        "issuer_id": "string.len",
        "challenge_window_size": "enum.defined_only",
    }
    assert "secret" not in str(failure)
    assert fake.received == []


def all_wrong() -> areq_pb2.AReq:
    areq = areq_pb2.AReq(
        message_version=codes_pb2.MESSAGE_VERSION_2_1_0,
        device_channel=codes_pb2.DEVICE_CHANNEL_BROWSER,
        message_category=codes_pb2.MESSAGE_CATEGORY_PAYMENT,
    )
    for field in areq.DESCRIPTOR.fields:
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
            setattr(areq, field.name, "\u00e9")
    return areq


async def test_a_request_with_every_text_wrong_is_refused_with_each_of_them(fake: FakeThreeDSServer, stub: Any) -> None:
    areq = all_wrong()

    failure = await failure_of(stub.Authenticate(threeds.AuthenticateRequest(areq=areq)))

    texts = {f"areq.{field.name}" for field, value in areq.ListFields() if isinstance(value, str)}
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(texts) > 70
    assert texts <= set(failure.violations)
    assert fake.received == []


async def test_what_a_caller_with_default_limits_has_no_room_for_is_counted(fake: FakeThreeDSServer, stub: Any) -> None:
    areq = all_wrong()
    areq.three_ds_requestor_challenge_ind.extend(["\u00e9"] * 20_000)

    failure = await failure_of(stub.Authenticate(threeds.AuthenticateRequest(areq=areq)))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.reason == "INVALID_REQUEST"
    assert len(failure.violations) > 60
    assert re.search(r"; (19|20)[0-9]{3} more violations omitted", failure.message)
    assert fake.received == []


async def test_an_authentication_without_an_areq_is_refused(fake: FakeThreeDSServer, stub: Any) -> None:
    failure = await failure_of(stub.Authenticate(threeds.AuthenticateRequest()))

    missing = ("areq.message_version", "areq.device_channel", "areq.message_category")
    assert failure.violations == dict.fromkeys(missing, "emv.required")
    assert fake.received == []


async def test_an_unknown_issuer_is_refused_before_anything_is_sent(fake: FakeThreeDSServer, stub: Any) -> None:
    for call in (
        stub.LookupCard(threeds.LookupCardRequest(issuer_id="ISSUER9999", acct_number=PAN)),
        stub.GetChallengeResult(
            threeds.GetChallengeResultRequest(issuer_id="ISSUER9999", three_ds_server_trans_id=TRANSACTION)
        ),
    ):
        failure = await failure_of(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "ISSUER_UNKNOWN")
    assert fake.received == []


@pytest.mark.parametrize("rreq", [None, rreq_pb2.RReq(three_ds_server_trans_id=TRANSACTION, eci="05")])
async def test_a_result_comes_back_as_it_is_and_one_that_has_not_come_yet_is_no_error(
    fake: FakeThreeDSServer, stub: Any, rreq: rreq_pb2.RReq | None
) -> None:
    fake.rreq = rreq

    response = await stub.GetChallengeResult(threeds.GetChallengeResultRequest(three_ds_server_trans_id=TRANSACTION))

    assert fake.received == [TRANSACTION]
    assert response == threeds.GetChallengeResultResponse(received=rreq is not None, rreq=rreq)


async def test_a_failure_of_the_server_comes_with_its_status(fake: FakeThreeDSServer, stub: Any) -> None:
    fake.failure = GatewayError(error_pb2.ERROR_REASON_THREE_DS_TRANSACTION_UNKNOWN, "Unknown.")
    request = threeds.GetChallengeResultRequest(three_ds_server_trans_id=TRANSACTION)

    failure = await failure_of(stub.GetChallengeResult(request))

    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "THREE_DS_TRANSACTION_UNKNOWN")
