"""What fails at the 3DS server, or on the way to it, and what the caller is told."""

from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from adapters.threeds import HttpThreeDSServer
from gateway.errors import GatewayError, Outcome, Reason
from issuer.common.v1 import error_pb2
from tests.integration.threeds.fake_threeds import (
    ACS_TRANSACTION,
    API_KEY,
    ARES,
    BREAK,
    DS_TRANSACTION,
    HANG,
    OTHER_TRANSACTION,
    PAN,
    TRANSACTION,
    FakeThreeDS,
    Reply,
    an_areq,
    an_erro,
    call,
    reply,
    server_at,
)

REJECTED = error_pb2.OUTCOME_REJECTED
UNKNOWN = error_pb2.OUTCOME_UNKNOWN
CONTRACT = error_pb2.ERROR_REASON_UPSTREAM_CONTRACT
AUTHENTICATION = error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION
UNAVAILABLE = error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE
NO_ANSWER = error_pb2.ERROR_REASON_UPSTREAM_NO_ANSWER
LATE = error_pb2.ERROR_REASON_DEADLINE_EXCEEDED
THREE_DS_REJECTED = error_pb2.ERROR_REASON_THREE_DS_REJECTED
TIMED_OUT = error_pb2.ERROR_REASON_THREE_DS_TIMED_OUT
TRANSIENT = error_pb2.ERROR_REASON_THREE_DS_TRANSIENT_FAILURE
PERMANENT = error_pb2.ERROR_REASON_THREE_DS_PERMANENT_FAILURE

REFUSALS = ["101", "102", "103", "201", "202", "203", "204", "301", "302", "303", "304", "305", "306", "307"]
CODES: Final[list[tuple[str, Reason, Outcome]]] = [
    *((code, THREE_DS_REJECTED, REJECTED) for code in REFUSALS),
    ("205", THREE_DS_REJECTED, REJECTED),
    ("399", THREE_DS_REJECTED, REJECTED),
    ("402", TIMED_OUT, REJECTED),
    ("403", TRANSIENT, REJECTED),
    ("404", PERMANENT, REJECTED),
    ("405", TIMED_OUT, REJECTED),
    ("406", CONTRACT, UNKNOWN),
    ("abc", CONTRACT, UNKNOWN),
    ("", CONTRACT, UNKNOWN),
]
HTML = b"<html><body>Bad Gateway</body></html>"
OVERSIZED = b'{"messageType":"ARes","x":"' + b"x" * 2_000_000 + b'"}'
TRUNCATED = Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

Ask = Callable[[HttpThreeDSServer], Awaitable[object]]


async def failure(server: HttpThreeDSServer, seconds: float | None = None) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await server.authenticate(an_areq(), call(seconds))
    assert caught.value.metadata["upstream"] == "threeds"
    assert API_KEY not in str(caught.value) + str(caught.value.metadata)
    assert caught.value.__cause__ is None
    return caught.value


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(("code", "reason", "outcome"), CODES)
async def test_every_code_of_an_erro_has_its_reason_and_its_outcome_whatever_its_status(
    threeds: FakeThreeDS, server: HttpThreeDSServer, code: str, reason: Reason, outcome: Outcome, status: int
) -> None:
    threeds.replies = [reply(an_erro(code), status)]

    error = await failure(server)

    assert (error.reason, error.outcome) == (reason, outcome)
    assert error.metadata.get("upstream_code") == (code if code.isdigit() else None)
    assert error.metadata["upstream_status"] == str(status)
    assert (error.retry_after_seconds is not None) == (reason == TRANSIENT)
    assert len(threeds.seen) == 1


async def test_the_fields_of_an_erro_are_handed_on(threeds: FakeThreeDS, server: HttpThreeDSServer) -> None:
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


async def test_nothing_of_an_erro_is_taken_on_trust(threeds: FakeThreeDS, server: HttpThreeDSServer) -> None:
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


async def test_an_erro_of_odd_values_is_still_one(threeds: FakeThreeDS, server: HttpThreeDSServer) -> None:
    threeds.replies = [reply({"messageType": "Erro", "errorCode": 203, "errorDetail": ["a"], "more": {"a": None}})]

    assert (await failure(server)).reason == CONTRACT


@pytest.mark.parametrize(
    ("said", "reason", "outcome", "status"),
    [
        (reply(b"Invalid API Key", 401, "text/plain"), AUTHENTICATION, REJECTED, "401"),
        (reply(HTML, 403, "text/html"), AUTHENTICATION, REJECTED, "403"),
        (reply(HTML, 404, "text/html"), CONTRACT, REJECTED, "404"),
        (reply(HTML, 405, "text/html"), CONTRACT, REJECTED, "405"),
        (reply(HTML, 413, "text/html"), error_pb2.ERROR_REASON_UPSTREAM_INVALID, REJECTED, "413"),
        (reply({"message": "bad"}, 400), error_pb2.ERROR_REASON_UPSTREAM_INVALID, REJECTED, "400"),
        (reply(HTML, 429, "text/html"), error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED, REJECTED, "429"),
        (reply(HTML, 500, "text/html"), error_pb2.ERROR_REASON_UPSTREAM_FAILED, UNKNOWN, "500"),
        (reply(HTML, 502, "text/html"), UNAVAILABLE, UNKNOWN, "502"),
        (reply(HTML, 503, "text/html"), UNAVAILABLE, REJECTED, "503"),
        (reply(HTML, 504, "text/html"), UNAVAILABLE, UNKNOWN, "504"),
        (reply(ARES, 500), error_pb2.ERROR_REASON_UPSTREAM_FAILED, UNKNOWN, "500"),
        (reply(ARES, 201), CONTRACT, UNKNOWN, "201"),
        (reply(b"", 302, Location="http://127.0.0.1:1/"), CONTRACT, UNKNOWN, "302"),
        (reply(HTML, 200, "text/html"), CONTRACT, UNKNOWN, "200"),
        (reply(b""), CONTRACT, UNKNOWN, "200"),
        (reply(b"[]"), CONTRACT, UNKNOWN, "200"),
        (reply(b'{"messageType":"ARes"'), CONTRACT, UNKNOWN, "200"),
        (reply(b'{"messageType":"ARes","x":' + b"[" * 5000 + b"]" * 5000 + b"}"), CONTRACT, UNKNOWN, "200"),
        (reply(b'{"messageType":"ARes","x":"\xff"}'), CONTRACT, UNKNOWN, "200"),
        (reply({}), CONTRACT, UNKNOWN, "200"),
        (reply(OVERSIZED), CONTRACT, UNKNOWN, "200"),
        (Reply(b"SSH-2.0-OpenSSH_9.9\r\n"), CONTRACT, UNKNOWN, None),
        (TRUNCATED, NO_ANSWER, UNKNOWN, None),
        (BREAK, NO_ANSWER, UNKNOWN, None),
    ],
)
async def test_an_answer_that_is_none_of_the_protocol_is_told_for_what_it_is(
    threeds: FakeThreeDS, server: HttpThreeDSServer, said: Reply, reason: Reason, outcome: Outcome, status: str | None
) -> None:
    threeds.replies = [said]

    error = await failure(server)

    assert (error.reason, error.outcome) == (reason, outcome)
    assert error.metadata.get("upstream_status") == status
    assert len(threeds.seen) == 1


async def test_a_silent_server_costs_no_more_than_the_callers_deadline(
    threeds: FakeThreeDS, server: HttpThreeDSServer
) -> None:
    threeds.replies = [HANG]

    error = await failure(server, seconds=0.2)

    assert (error.reason, error.outcome) == (LATE, UNKNOWN)
    assert len(threeds.seen) == 1


async def test_a_silent_server_costs_no_more_than_the_configured_time(threeds: FakeThreeDS) -> None:
    threeds.replies = [HANG]

    async with server_at(threeds.url, total_timeout_seconds=0.2, connect_timeout_seconds=0.2) as server:
        error = await failure(server, seconds=30)

    assert (error.reason, error.outcome) == (LATE, UNKNOWN)


async def test_a_deadline_that_has_passed_already_means_nothing_is_sent(
    threeds: FakeThreeDS, server: HttpThreeDSServer
) -> None:
    error = await failure(server, seconds=0)

    assert (error.reason, error.outcome) == (LATE, error_pb2.OUTCOME_NOT_SENT)
    assert threeds.seen == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda server: server.lookup(PAN, "", call()),
        lambda server: server.challenge_result(TRANSACTION, call()),
    ],
)
async def test_a_wrong_key_is_told_of_by_every_call_and_not_tried_again(
    threeds: FakeThreeDS, server: HttpThreeDSServer, ask: Ask
) -> None:
    threeds.replies = [reply(b"Invalid API Key", 401, "text/plain")]

    with pytest.raises(GatewayError) as caught:
        await ask(server)

    assert caught.value.reason == AUTHENTICATION
    assert len(threeds.seen) == 1


async def test_card_range_data_without_a_transaction_is_no_answer(
    threeds: FakeThreeDS, server: HttpThreeDSServer
) -> None:
    threeds.replies = [reply({"messageType": "CRD", "acsStartProtocolVersion": "2.1.0"})]

    with pytest.raises(GatewayError) as caught:
        await server.lookup(PAN, "", call())

    assert (caught.value.reason, caught.value.outcome) == (CONTRACT, UNKNOWN)
