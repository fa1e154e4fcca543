"""AuthenticationService before a 3DS server in memory: what it passes on, and how it refuses much at once."""

import re
import time
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor

from gateway.threeds.rules.codes import codes_of
from issuer.threeds.v1 import areq_pb2, ares_pb2, codes_pb2, crd_pb2, rreq_pb2, service_pb2_grpc
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


async def test_an_authentication_that_fails_is_a_call_that_succeeds(fake: FakeThreeDSServer, stub: Any) -> None:
    request = threeds.AuthenticateRequest(areq=good_areq())

    response = await stub.Authenticate(request)

    assert fake.received == [request.areq]
    assert response == threeds.AuthenticateResponse(ares=FINAL)


@pytest.mark.parametrize("channel", ["01", "03"])
async def test_outside_of_a_browser_a_missing_transaction_id_is_made(
    fake: FakeThreeDSServer, stub: Any, channel: str
) -> None:
    request = threeds.AuthenticateRequest(areq=good_areq("2.3.1", channel))
    request.areq.three_ds_server_trans_id = ""

    await stub.Authenticate(request)
    await stub.Authenticate(request)

    first, second = (cast("areq_pb2.AReq", sent) for sent in fake.received)
    assert UUID(first.three_ds_server_trans_id).version == 4
    assert first.three_ds_server_trans_id != second.three_ds_server_trans_id
    first.three_ds_server_trans_id = ""
    assert first == request.areq


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


@pytest.mark.parametrize("rreq", [None, rreq_pb2.RReq(three_ds_server_trans_id=TRANSACTION, eci="05")])
async def test_a_result_comes_back_as_it_is_and_one_that_has_not_come_yet_is_no_error(
    fake: FakeThreeDSServer, stub: Any, rreq: rreq_pb2.RReq | None
) -> None:
    fake.rreq = rreq

    response = await stub.GetChallengeResult(threeds.GetChallengeResultRequest(three_ds_server_trans_id=TRANSACTION))

    assert fake.received == [TRANSACTION]
    assert response == threeds.GetChallengeResultResponse(received=rreq is not None, rreq=rreq)
