"""What fails at the 3DS server, and what the caller gets."""

import pytest

from adapters.threeds import HttpThreeDSServer
from gateway.errors import GatewayError
from tests.integration.upstreams.fake_threeds import (
    ACS_TRANSACTION,
    API_KEY,
    ARES,
    DS_TRANSACTION,
    OTHER_TRANSACTION,
    PAN,
    TRANSACTION,
    an_areq,
    an_erro,
)
from tests.integration.upstreams.fake_upstream import FakeUpstream, Reply, call, failure_of, kind_of, reply


async def failure(server: HttpThreeDSServer) -> GatewayError:
    error = await failure_of(server.authenticate(an_areq(), call()))
    assert error.metadata["upstream"] == "threeds"
    assert API_KEY not in str(error) + str(error.metadata)
    assert error.__cause__ is None
    return error


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        # Codes that no version of the protocol lists, and what is no code.
        *((reply(an_erro(code)), ("THREE_DS_REJECTED", "REJECTED")) for code in ("205", "399")),
        *((reply(an_erro(code)), ("UPSTREAM_CONTRACT", "UNKNOWN")) for code in ("406", "abc", "")),
        (
            reply({"messageType": "Erro", "errorCode": 203, "errorDetail": ["a"], "more": {"a": None}}),
            ("UPSTREAM_CONTRACT", "UNKNOWN"),
        ),
        # What came back for the AReq was wrong, so the ACS has acted.
        (reply(an_erro("203", errorMessageType="ARes")), ("THREE_DS_REJECTED", "UNKNOWN")),
        (reply(an_erro("203", errorMessageType="AReq")), ("THREE_DS_REJECTED", "REJECTED")),
        (reply(an_erro("405")), ("THREE_DS_TIMED_OUT", "UNKNOWN")),
        # Without a type, only a code of the protocol makes an Erro.
        (reply({"errorCode": "403"}), ("THREE_DS_TRANSIENT_FAILURE", "UNKNOWN")),
        (reply({"errorCode": "BUSY"}, 503), ("UPSTREAM_UNAVAILABLE", "REJECTED")),
        # A message does not make up for the status of a failure.
        (reply(ARES, 500), ("UPSTREAM_FAILED", "UNKNOWN")),
        # A conflict means nothing special here, unlike at D1.
        (reply(status=409), ("UPSTREAM_INVALID", "REJECTED")),
    ],
)
async def test_a_failure_that_the_protocol_does_not_list_has_its_reason_and_its_outcome_too(
    threeds: FakeUpstream, server: HttpThreeDSServer, response: Reply, kind: tuple[str, str]
) -> None:
    threeds.replies = [response]

    error = await failure(server)

    assert kind_of(error) == kind
    assert error.metadata.get("upstream_code") in {None, "203", "205", "399", "403", "405", "406"}


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
    assert len(error.to_status("x" * 64).SerializeToString()) < 3000


@pytest.mark.parametrize(
    ("response", "status"),
    [
        (reply(ARES, 201), "201"),
        (reply(b'{"messageType":"ARes"'), "200"),
        (reply(b'{"messageType":"ARes","x":' + b"[" * 5000 + b"]" * 5000 + b"}"), "200"),
        (reply(b'{"messageType":"ARes","x":"\xff"}'), "200"),
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
