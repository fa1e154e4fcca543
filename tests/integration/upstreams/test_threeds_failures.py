"""What fails at the 3DS server, and what the caller gets."""

from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from adapters.threeds import HttpThreeDSServer
from gateway.errors import GatewayError
from tests.integration.upstreams.fake_threeds import (
    ACS_TRANSACTION,
    API_KEY,
    ARES,
    CRD,
    DS_TRANSACTION,
    OTHER_TRANSACTION,
    PAN,
    RREQ,
    TRANSACTION,
    an_areq,
    an_erro,
)
from tests.integration.upstreams.fake_upstream import FakeUpstream, Reply, call, failure_of, kind_of, reply

REFUSALS = ["101", "102", "103", "201", "202", "203", "204", "301", "302", "303", "304", "305", "306", "307"]
CODES: Final = {
    **dict.fromkeys([*REFUSALS, "205", "399"], ("THREE_DS_REJECTED", "REJECTED")),
    "402": ("THREE_DS_TIMED_OUT", "REJECTED"),
    "403": ("THREE_DS_TRANSIENT_FAILURE", "REJECTED"),
    "404": ("THREE_DS_PERMANENT_FAILURE", "REJECTED"),
    "405": ("THREE_DS_TIMED_OUT", "REJECTED"),
    **dict.fromkeys(["406", "abc", ""], ("UPSTREAM_CONTRACT", "UNKNOWN")),
}
Query = Callable[[HttpThreeDSServer], Awaitable[object]]
QUERIES: Final[dict[str, tuple[Query, dict[str, str]]]] = {
    "lookup": (lambda server: server.lookup(PAN, "", call()), CRD),
    "result": (lambda server: server.challenge_result(TRANSACTION, call()), RREQ),
}


async def failure(server: HttpThreeDSServer) -> GatewayError:
    error = await failure_of(server.authenticate(an_areq(), call()))
    assert error.metadata["upstream"] == "threeds"
    assert API_KEY not in str(error) + str(error.metadata)
    assert error.__cause__ is None
    return error


@pytest.mark.parametrize("code", CODES)
async def test_every_code_of_an_erro_has_its_reason_and_its_outcome_whatever_its_status(
    threeds: FakeUpstream, server: HttpThreeDSServer, code: str
) -> None:
    for status in (200, 400, 500):
        threeds.replies = [reply(an_erro(code), status)]

        error = await failure(server)

        assert kind_of(error) == CODES[code]
        assert error.metadata.get("upstream_code") == (code if code.isdigit() else None)
        assert error.metadata["upstream_status"] == str(status)
        assert error.retry_after_seconds == (1 if code == "403" else None)
    assert len(threeds.seen) == 3


async def test_the_fields_of_an_erro_are_handed_on(threeds: FakeUpstream, server: HttpThreeDSServer) -> None:
    erro = an_erro(
        "203",
        "D",
        "Format of one or more Data Elements is Invalid",
        errorDetail="acctNumber, purchaseDate",
        errorMessageType="AReq",
        threeDSServerTransID=TRANSACTION,
        acsTransID=ACS_TRANSACTION,
        dsTransID=DS_TRANSACTION,
        sdkTransID=OTHER_TRANSACTION,
    )
    threeds.replies = [reply(erro)]

    error = await failure(server)

    assert error.metadata == {
        "upstream": "threeds",
        "upstream_status": "200",
        "upstream_code": "203",
        "error_component": "D",
        "error_description": "Format of one or more Data Elements is Invalid",
        "error_detail": "acctNumber, purchaseDate",
        "error_message_type": "AReq",
        "three_ds_server_trans_id": TRANSACTION,
        "acs_trans_id": ACS_TRANSACTION,
        "ds_trans_id": DS_TRANSACTION,
        "sdk_trans_id": OTHER_TRANSACTION,
    }
    assert error.message == (
        "The directory server rejects the request (Erro 203): "
        "Format of one or more Data Elements is Invalid: acctNumber, purchaseDate"
    )


async def test_nothing_of_an_erro_is_taken_on_trust(threeds: FakeUpstream, server: HttpThreeDSServer) -> None:
    erro = an_erro(
        f"203 {PAN}",
        f"S {PAN}",
        f"Wrong: {PAN}",
        errorDetail=f"acctNumber={PAN}\r\n" + "x " * 5000,
        errorMessageType=PAN,
        threeDSServerTransID=PAN,
        acsTransID="eyJhbGciOiJFUzI1NiJ9.e30.c2ln",
    )
    threeds.replies = [reply(erro)]

    error = await failure(server)

    assert set(error.metadata) == {"upstream", "upstream_status", "error_description", "error_detail"}
    assert PAN not in str(error) + str(error.metadata)
    assert len(error.to_status("x" * 64).SerializeToString()) < 2000


async def test_an_erro_of_odd_values_is_still_one(threeds: FakeUpstream, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply({"messageType": "Erro", "errorCode": 203, "errorDetail": ["a"], "more": {"a": None}})]

    assert kind_of(await failure(server)) == ("UPSTREAM_CONTRACT", "UNKNOWN")


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (reply(ARES, 201), "201"),
        (reply(b"<html></html>", Content_Type="text/html"), "200"),
        (reply(b""), "200"),
        (reply(b"[]"), "200"),
        (reply(b'{"messageType":"ARes"'), "200"),
        (reply(b'{"messageType":"ARes","x":' + b"[" * 5000 + b"]" * 5000 + b"}"), "200"),
        (reply(b'{"messageType":"ARes","x":"\xff"}'), "200"),
        (reply({}), "200"),
    ],
)
async def test_what_is_no_message_of_the_protocol_breaks_the_contract(
    threeds: FakeUpstream, server: HttpThreeDSServer, response: Reply, status: str
) -> None:
    threeds.replies = [response]

    error = await failure(server)

    assert kind_of(error) == ("UPSTREAM_CONTRACT", "UNKNOWN")
    assert error.metadata["upstream_status"] == status
    assert len(threeds.seen) == 1


async def test_a_message_does_not_make_up_for_the_status_of_a_failure(
    threeds: FakeUpstream, server: HttpThreeDSServer
) -> None:
    threeds.replies = [reply(ARES, 500)]

    assert kind_of(await failure(server)) == ("UPSTREAM_FAILED", "UNKNOWN")


async def test_a_wrong_key_is_reported_by_every_call_which_is_not_repeated(
    threeds: FakeUpstream, server: HttpThreeDSServer
) -> None:
    threeds.replies = [reply(b"Invalid API Key", 401, Content_Type="text/plain")]

    errors = [await failure(server), *[await failure_of(query(server)) for query, _ in QUERIES.values()]]

    assert {kind_of(error) for error in errors} == {("UPSTREAM_AUTHENTICATION", "REJECTED")}
    assert len(threeds.seen) == 3


@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_is_repeated_after_an_erro_of_a_transient_fault(
    threeds: FakeUpstream, server: HttpThreeDSServer, name: str
) -> None:
    query, found = QUERIES[name]
    threeds.replies = [reply(an_erro("403")), reply(an_erro("403")), reply(found)]

    assert await query(server) is not None
    assert len(threeds.seen) == 3


@pytest.mark.parametrize("lasting", [reply(b"{"), *(reply(an_erro(code)) for code in ("101", "402", "404", "405"))])
@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_is_not_repeated_where_that_helps_nobody(
    threeds: FakeUpstream, server: HttpThreeDSServer, lasting: Reply, name: str
) -> None:
    threeds.replies = [lasting]

    await failure_of(QUERIES[name][0](server))

    assert len(threeds.seen) == 1
