"""What goes to the 3DS server, and what its answers come to."""

import pytest

from adapters.threeds import HttpThreeDSServer
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import codes_pb2
from tests.integration.threeds.fake_threeds import (
    API_KEY,
    AREQ,
    ARES,
    CRD,
    OTHER_TRANSACTION,
    PAN,
    RREQ,
    TRANSACTION,
    FakeThreeDS,
    an_areq,
    an_erro,
    call,
    reply,
)

CONTRACT = error_pb2.ERROR_REASON_UPSTREAM_CONTRACT
UNKNOWN = error_pb2.OUTCOME_UNKNOWN


async def test_a_lookup_posts_the_card_number_with_the_api_key(threeds: FakeThreeDS, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply(CRD)]

    crd = await server.lookup(PAN, "visa", call())

    (seen,) = threeds.seen
    assert seen.line == "POST /preauth HTTP/1.1"
    assert seen.headers["apikey"] == API_KEY
    assert seen.headers["content-type"] == "application/json; charset=utf-8"
    assert seen.json() == {"acctNumber": PAN, "ds": "visa"}
    assert crd is not None
    assert crd.three_ds_server_trans_id == TRANSACTION
    assert crd.acs_end_protocol_version == "2.2.0"


async def test_a_lookup_names_no_directory_server_that_nobody_asked_for(
    threeds: FakeThreeDS, server: HttpThreeDSServer
) -> None:
    threeds.replies = [reply(CRD)]

    await server.lookup(PAN, "", call())

    assert threeds.seen[0].json() == {"acctNumber": PAN}


async def test_card_range_data_may_come_without_its_type(threeds: FakeThreeDS, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply({name: value for name, value in CRD.items() if name != "messageType"})]

    assert await server.lookup(PAN, "", call()) is not None


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("component", ["S", "D"])
async def test_a_card_that_no_scheme_knows_takes_no_part(
    threeds: FakeThreeDS, server: HttpThreeDSServer, status: int, component: str
) -> None:
    threeds.replies = [reply(an_erro("305", component, "Unknown BIN"), status)]

    assert await server.lookup(PAN, "", call()) is None
    assert len(threeds.seen) == 1


async def test_an_areq_goes_out_whole_and_its_ares_comes_back(threeds: FakeThreeDS, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply(ARES | {"fromTheFuture": 1})]

    ares = await server.authenticate(an_areq(), call())

    (seen,) = threeds.seen
    assert seen.line == "POST /auth HTTP/1.1"
    assert seen.json() == AREQ
    assert ares.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED
    assert ares.unrecognized["fromTheFuture"] == 1


async def test_text_beyond_ascii_goes_out_as_ascii(threeds: FakeThreeDS, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply(ARES | {"messageVersion": "2.3.1"})]
    areq = an_areq(messageVersion="2.3.1", cardholderName="J\u00f8rgen")

    await server.authenticate(areq, call())

    assert threeds.seen[0].body.isascii()
    assert threeds.seen[0].json()["cardholderName"] == "J\u00f8rgen"


@pytest.mark.parametrize(
    "changes",
    [
        {"threeDSServerTransID": OTHER_TRANSACTION},
        {"threeDSServerTransID": ""},
        {"threeDSServerTransID": None},
        {"threeDSServerTransID": 7},
        {"messageVersion": "2.1.0"},
        {"messageVersion": "9.9.9"},
        {"messageVersion": None},
        {"messageType": "RReq"},
    ],
)
async def test_an_ares_that_contradicts_its_areq_is_no_answer(
    threeds: FakeThreeDS, server: HttpThreeDSServer, changes: dict[str, object]
) -> None:
    threeds.replies = [reply(ARES | changes)]

    with pytest.raises(GatewayError) as caught:
        await server.authenticate(an_areq(), call())

    assert (caught.value.reason, caught.value.outcome) == (CONTRACT, UNKNOWN)
    assert caught.value.metadata == {"upstream": "threeds", "upstream_status": "200"}
    assert len(threeds.seen) == 1


async def test_a_transaction_id_in_capitals_is_the_same(threeds: FakeThreeDS, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply(ARES | {"threeDSServerTransID": TRANSACTION.upper()})]

    assert (await server.authenticate(an_areq(), call())).eci == "05"


async def test_a_result_is_asked_for_by_its_transaction(threeds: FakeThreeDS, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply(RREQ)]

    rreq = await server.challenge_result(TRANSACTION, call())

    assert threeds.seen[0].line == "POST /postauth HTTP/1.1"
    assert threeds.seen[0].json() == {"threeDSServerTransID": TRANSACTION}
    assert rreq is not None
    assert rreq.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED


async def test_a_result_of_another_transaction_is_no_answer(threeds: FakeThreeDS, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply(RREQ | {"threeDSServerTransID": OTHER_TRANSACTION})]

    with pytest.raises(GatewayError) as caught:
        await server.challenge_result(TRANSACTION, call())

    assert (caught.value.reason, caught.value.outcome) == (CONTRACT, UNKNOWN)


@pytest.mark.parametrize("description", ["No RReq has been received", "no rreq was received yet", ""])
async def test_a_result_that_has_not_come_yet_is_none(
    threeds: FakeThreeDS, server: HttpThreeDSServer, description: str
) -> None:
    threeds.replies = [reply(an_erro("305", description=description))]

    assert await server.challenge_result(TRANSACTION, call()) is None


@pytest.mark.parametrize("code", ["203", "301"])
async def test_a_transaction_that_the_server_has_forgotten_is_unknown(
    threeds: FakeThreeDS, server: HttpThreeDSServer, code: str
) -> None:
    threeds.replies = [reply(an_erro(code, description="Unknown threeDSServerTransID"), 404)]

    with pytest.raises(GatewayError) as caught:
        await server.challenge_result(TRANSACTION, call())

    assert caught.value.reason == error_pb2.ERROR_REASON_THREE_DS_TRANSACTION_UNKNOWN
    assert caught.value.outcome == error_pb2.OUTCOME_REJECTED
    assert caught.value.metadata["upstream_code"] == code
    assert len(threeds.seen) == 1


@pytest.mark.parametrize("code", ["203", "301", "305"])
async def test_the_same_codes_of_another_party_say_nothing_of_the_result(
    threeds: FakeThreeDS, server: HttpThreeDSServer, code: str
) -> None:
    threeds.replies = [reply(an_erro(code, "D"))]

    with pytest.raises(GatewayError) as caught:
        await server.challenge_result(TRANSACTION, call())

    assert caught.value.reason == error_pb2.ERROR_REASON_THREE_DS_REJECTED
