"""What goes to the 3DS server, and what its responses come to."""

from typing import Any

import pytest

from adapters.threeds import HttpThreeDSServer
from issuer.threeds.v1 import codes_pb2
from tests.integration.upstreams.fake_threeds import (
    API_KEY,
    AREQ,
    ARES,
    CRD,
    OTHER_TRANSACTION,
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


async def test_card_range_data_without_a_transaction_break_the_contract(
    threeds: FakeUpstream, server: HttpThreeDSServer
) -> None:
    threeds.replies = [reply({"messageType": "CRD", "acsStartProtocolVersion": "2.1.0"})]

    assert kind_of(await failure_of(server.lookup(PAN, "", call()))) == BROKEN


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


@pytest.mark.parametrize("description", ["No RReq has been received", "no rreq was received yet", ""])
async def test_a_result_that_has_not_come_yet_is_none(
    threeds: FakeUpstream, server: HttpThreeDSServer, description: str
) -> None:
    threeds.replies = [reply(an_erro("305", description=description))]

    assert await server.challenge_result(TRANSACTION, call()) is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (RREQ | {"threeDSServerTransID": OTHER_TRANSACTION}, BROKEN),
        (an_erro("203"), ("THREE_DS_TRANSACTION_UNKNOWN", "REJECTED")),
        (an_erro("301"), ("THREE_DS_TRANSACTION_UNKNOWN", "REJECTED")),
        (an_erro("302"), ("THREE_DS_REJECTED", "REJECTED")),
        # From another party, the same codes are not about the transaction.
        (an_erro("203", "D"), ("THREE_DS_REJECTED", "REJECTED")),
        (an_erro("301", "D"), ("THREE_DS_REJECTED", "REJECTED")),
        (an_erro("305", "D"), ("THREE_DS_REJECTED", "REJECTED")),
    ],
)
async def test_what_is_no_result_is_an_error(
    threeds: FakeUpstream, server: HttpThreeDSServer, body: dict[str, Any], kind: tuple[str, str]
) -> None:
    threeds.replies = [reply(body)]

    error = await failure_of(server.challenge_result(TRANSACTION, call()))

    assert kind_of(error) == kind
    assert error.metadata.get("upstream_code") == body.get("errorCode")
    assert len(threeds.seen) == 1
