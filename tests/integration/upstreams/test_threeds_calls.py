"""What goes to the 3DS server, and what its responses come to."""

import json

import pytest

from adapters.threeds import HttpThreeDSServer
from issuer.threeds.v1 import codes_pb2
from tests.integration.upstreams.fake_threeds import (
    API_KEY,
    AREQ,
    ARES,
    CRD,
    PAN,
    RREQ,
    TRANSACTION,
    an_areq,
    an_erro,
)
from tests.integration.upstreams.fake_upstream import FakeUpstream, call, failure_of, kind_of, reply

BROKEN = ("UPSTREAM_CONTRACT", "UNKNOWN")


@pytest.mark.parametrize(
    ("ds", "crd"),
    [("visa", CRD), ("", {name: value for name, value in CRD.items() if name != "messageType"})],
    ids=["named", "without-type"],
)
async def test_a_lookup_posts_the_card_number_with_the_api_key_and_gets_card_range_data(
    threeds: FakeUpstream, server: HttpThreeDSServer, ds: str, crd: dict[str, str]
) -> None:
    threeds.replies = [reply(crd)]

    found = await server.lookup(PAN, ds, call())

    (seen,) = threeds.seen
    assert (seen.method, seen.path) == ("POST", "/preauth")
    assert seen.headers["apikey"] == API_KEY
    assert seen.headers["content-type"] == "application/json; charset=utf-8"
    assert seen.json() == {"acctNumber": PAN} | ({"ds": ds} if ds else {})
    assert found is not None
    assert found.three_ds_server_trans_id == TRANSACTION
    assert found.acs_end_protocol_version == "2.2.0"


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("component", ["S", "D"])
async def test_a_card_that_no_scheme_knows_takes_no_part(
    threeds: FakeUpstream, server: HttpThreeDSServer, status: int, component: str
) -> None:
    threeds.replies = [reply(an_erro("305", component, "Unknown BIN"), status)]

    assert await server.lookup(PAN, "", call()) is None
    assert len(threeds.seen) == 1


async def test_an_areq_goes_out_whole_and_its_ares_comes_back(threeds: FakeUpstream, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply(ARES | {"fromTheFuture": 1})]

    ares = await server.authenticate(an_areq(), call())

    (seen,) = threeds.seen
    assert (seen.method, seen.path) == ("POST", "/auth")
    assert seen.json() == AREQ
    assert ares.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED
    assert ares.unrecognized["fromTheFuture"] == 1


async def test_json_that_the_server_writes_in_its_own_way_is_read(
    threeds: FakeUpstream, server: HttpThreeDSServer
) -> None:
    odd = rb',"acquirerReference":74999999999999999999991,"acsReferenceNumber":null,"cardholderInfo":"Caf\ud83d"}'
    known = {name: value for name, value in ARES.items() if name not in ("acsReferenceNumber", "cardholderInfo")}
    threeds.replies = [reply(b"\xef\xbb\xbf" + json.dumps(known).encode()[:-1] + odd)]

    ares = await server.authenticate(an_areq(), call())

    assert dict(ares.unrecognized) == {"acquirerReference": "74999999999999999999991"}
    assert ares.acs_reference_number == ""
    assert ares.cardholder_info.text == "Caf\ufffd"


@pytest.mark.parametrize(
    "changes",
    [
        {"threeDSServerTransID": ""},
        {"threeDSServerTransID": 7},
        {"messageVersion": "9.9.9"},
        {"messageType": "RReq"},
        {"messageType": ""},
        {"transStatus": ""},
        {"errorCode": "203"},
    ],
)
async def test_an_ares_that_contradicts_its_areq_breaks_the_contract(
    threeds: FakeUpstream, server: HttpThreeDSServer, changes: dict[str, object]
) -> None:
    threeds.replies = [reply(ARES | changes)]

    error = await failure_of(server.authenticate(an_areq(), call()))

    assert kind_of(error) == BROKEN
    assert error.metadata == {"upstream": "threeds", "upstream_status": "200"}
    assert len(threeds.seen) == 1


async def test_a_transaction_id_in_capitals_is_the_same(threeds: FakeUpstream, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply(ARES | {"threeDSServerTransID": TRANSACTION.upper()})]

    assert (await server.authenticate(an_areq(), call())).eci == "05"


async def test_a_result_is_requested_by_its_transaction(threeds: FakeUpstream, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply(RREQ)]

    rreq = await server.challenge_result(TRANSACTION, call())

    (seen,) = threeds.seen
    assert (seen.method, seen.path) == ("POST", "/postauth")
    assert seen.json() == {"threeDSServerTransID": TRANSACTION}
    assert rreq is not None
    assert rreq.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED


@pytest.mark.parametrize("missing", ["messageType", "transStatus", "threeDSServerTransID"])
async def test_a_result_that_lacks_what_makes_it_one_breaks_the_contract(
    threeds: FakeUpstream, server: HttpThreeDSServer, missing: str
) -> None:
    threeds.replies = [reply({name: value for name, value in RREQ.items() if name != missing})]

    assert kind_of(await failure_of(server.challenge_result(TRANSACTION, call()))) == BROKEN


async def test_a_status_that_is_new_or_of_no_payment_is_handed_on(
    threeds: FakeUpstream, server: HttpThreeDSServer
) -> None:
    without = {name: value for name, value in RREQ.items() if name != "transStatus"}
    threeds.replies = [reply(ARES | {"transStatus": "X"}), reply(without | {"messageCategory": "02"})]

    ares = await server.authenticate(an_areq(), call())
    rreq = await server.challenge_result(TRANSACTION, call())

    assert ares.unrecognized["transStatus"] == "X"
    assert rreq is not None
    assert rreq.trans_status == codes_pb2.TRANS_STATUS_UNSPECIFIED


async def test_an_erro_without_a_type_is_an_erro(threeds: FakeUpstream, server: HttpThreeDSServer) -> None:
    erro = {name: value for name, value in an_erro("305").items() if name != "messageType"}
    threeds.replies = [reply(erro)]

    assert await server.lookup(PAN, "", call()) is None
    assert await server.challenge_result(TRANSACTION, call()) is None
    assert kind_of(await failure_of(server.authenticate(an_areq(), call()))) == ("THREE_DS_REJECTED", "REJECTED")


async def test_an_erro_that_is_not_about_the_transaction_is_no_result(
    threeds: FakeUpstream, server: HttpThreeDSServer
) -> None:
    threeds.replies = [reply(an_erro("302"))]

    error = await failure_of(server.challenge_result(TRANSACTION, call()))

    assert kind_of(error) == ("THREE_DS_REJECTED", "REJECTED")


async def test_after_its_deadline_a_call_is_not_sent(threeds: FakeUpstream, server: HttpThreeDSServer) -> None:
    error = await failure_of(server.authenticate(an_areq(), call(0)))

    assert kind_of(error) == ("DEADLINE_EXCEEDED", "NOT_SENT")
    assert error.metadata == {"upstream": "threeds"}
    assert threeds.seen == []
