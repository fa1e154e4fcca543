import re
from email.utils import formatdate
from time import time

import aiohttp
import orjson
import pytest
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.d1.api.errors import D1, contract_broken, deadline_exceeded, no_token, rejection, sanitised
from adapters.http.response import UpstreamResponse
from gateway.errors import GatewayError, Outcome, Reason
from issuer.common.v1 import error_pb2

REJECTED = error_pb2.OUTCOME_REJECTED
UNKNOWN = error_pb2.OUTCOME_UNKNOWN

TABLE: list[tuple[int, Reason, Outcome]] = [
    (301, error_pb2.ERROR_REASON_UPSTREAM_CONTRACT, UNKNOWN),
    (304, error_pb2.ERROR_REASON_UPSTREAM_CONTRACT, UNKNOWN),
    (400, error_pb2.ERROR_REASON_UPSTREAM_INVALID, REJECTED),
    (401, error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION, REJECTED),
    (403, error_pb2.ERROR_REASON_UPSTREAM_FORBIDDEN, REJECTED),
    (404, error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND, REJECTED),
    (405, error_pb2.ERROR_REASON_UPSTREAM_INVALID, REJECTED),
    (409, error_pb2.ERROR_REASON_UPSTREAM_CONFLICT, REJECTED),
    (418, error_pb2.ERROR_REASON_UPSTREAM_INVALID, REJECTED),
    (429, error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED, REJECTED),
    (499, error_pb2.ERROR_REASON_UPSTREAM_INVALID, REJECTED),
    (500, error_pb2.ERROR_REASON_UPSTREAM_FAILED, UNKNOWN),
    (501, error_pb2.ERROR_REASON_UPSTREAM_FAILED, UNKNOWN),
    (502, error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, UNKNOWN),
    (503, error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, REJECTED),
    (504, error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, UNKNOWN),
    (599, error_pb2.ERROR_REASON_UPSTREAM_FAILED, UNKNOWN),
    (600, error_pb2.ERROR_REASON_UPSTREAM_CONTRACT, UNKNOWN),
    (999, error_pb2.ERROR_REASON_UPSTREAM_CONTRACT, UNKNOWN),
]


def answer(status: int, body: object = None, retry_after: str = "") -> UpstreamResponse:
    return UpstreamResponse(status, retry_after, b"" if body is None else orjson.dumps(body))


@pytest.mark.parametrize(("status", "reason", "outcome"), TABLE)
def test_every_status_has_its_reason_and_its_outcome(status: int, reason: Reason, outcome: Outcome) -> None:
    error = rejection(answer(status))

    assert (error.reason, error.outcome) == (reason, outcome)
    assert error.metadata == {"upstream": "d1", "upstream_status": str(status)}
    assert f"HTTP {status}" in error.message


def test_a_newer_error_body_gives_its_code_and_its_text() -> None:
    error = rejection(answer(403, {"errorCode": "STATE_INVALID", "error": "Card is suspended"}))

    assert error.metadata["upstream_code"] == "STATE_INVALID"
    assert error.message.endswith("(HTTP 403, STATE_INVALID): Card is suspended")


def test_an_older_error_body_gives_its_text() -> None:
    error = rejection(answer(404, {"error": "Card does not exist"}))

    assert "upstream_code" not in error.metadata
    assert error.message.endswith("(HTTP 404): Card does not exist")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad Gateway</html>",
        b"not json",
        b"[1]",
        b'"text"',
        b"\xff\xfe",
        b'{"error": {"a": 1}}',
        b"[" * 9999,
    ],
)
def test_a_body_of_no_use_leaves_the_status_to_speak(body: bytes) -> None:
    error = rejection(UpstreamResponse(409, body=body))

    assert error.reason == error_pb2.ERROR_REASON_UPSTREAM_CONFLICT
    assert error.message == "The card id or the PAN is in use at D1, or may not be reused (HTTP 409)."


@pytest.mark.parametrize(
    "code",
    [
        "4111111111111111",
        "CARD_4111111111111111",
        "lower_case",
        "WITH SPACE",
        "A" * 65,
        "",
        7,
        None,
        "NEW\nLINE",
        "TRAILING\n",
    ],
)
def test_a_code_that_is_no_code_is_not_passed_on(code: object) -> None:
    assert "upstream_code" not in rejection(answer(400, {"errorCode": code})).metadata


def test_the_field_that_d1_finds_wrong_is_named_as_the_caller_knows_it() -> None:
    (violation,) = rejection(answer(400, {"errorCode": "FIELD_INVALID_FORMAT", "error": "cardProductId"})).violations

    assert (violation.field, violation.rule) == ("card_product_id", "FIELD_INVALID_FORMAT")


def test_a_wrong_field_that_the_gateway_does_not_know_is_named_as_d1_knows_it() -> None:
    (violation,) = rejection(answer(400, {"errorCode": "FIELD_INVALID_VALUE", "error": "accounts[0].iban"})).violations

    assert violation.field == "accounts[0].iban"


def test_a_sentence_is_not_taken_for_a_field() -> None:
    error = rejection(answer(400, {"errorCode": "FIELD_INVALID_VALUE", "error": "Something is wrong"}))

    assert error.violations == ()
    assert error.message.endswith(": Something is wrong")


@pytest.mark.parametrize("status", [429, 503])
def test_the_seconds_of_a_retry_after_are_passed_on(status: int) -> None:
    assert rejection(answer(status, retry_after=" 17 ")).retry_after_seconds == 17


def test_the_date_of_a_retry_after_is_passed_on_as_seconds() -> None:
    seconds = rejection(answer(429, retry_after=formatdate(time() + 60, usegmt=True))).retry_after_seconds

    assert seconds is not None
    assert 55 < seconds <= 61


def test_a_date_that_is_over_means_now() -> None:
    assert rejection(answer(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")).retry_after_seconds == 0


def test_a_rejection_that_may_be_retried_always_says_when() -> None:
    assert rejection(answer(429)).retry_after_seconds == 1
    assert rejection(answer(503, retry_after="soon")).retry_after_seconds == 1


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500, 502, 504])
def test_no_delay_is_named_where_it_would_invite_a_wrong_repetition(status: int) -> None:
    assert rejection(answer(status, retry_after="5")).retry_after_seconds is None


@given(st.text(max_size=60) | st.from_regex(r"[0-9]{1,5000}", fullmatch=True))
@example("Fri, 99999999999999999999 Jan 2020 10:00:00 GMT")
@example("Fri, 1 Jan 99999999999999999999 10:00:00 GMT")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("Fri, 1 Jan 0001 00:00:00 -0000")
def test_no_retry_after_breaks_anything_or_asks_for_more_than_a_day(header: str) -> None:
    error = rejection(answer(429, retry_after=header))

    assert error.retry_after_seconds is not None
    assert 0 <= error.retry_after_seconds <= 86_400
    assert error.to_status("correlation").code == 8


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("PAN 4111111111111111 unknown", "PAN **** unknown"),
        ("PAN 4111 1111 1111 1111", "PAN ****"),
        ("PAN 411-111-111-1111111", "PAN ****"),
        ("PAN 411.111.111_1111111.", "PAN ****."),
        ("limit is 100", "limit is 100"),
        ("token eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln refused", "token **** refused"),
        ("opaque " + "aB3_" * 20, "opaque ****"),
        ("one\r\ntwo\x00three é", "one two three"),
        ("x " * 300, "x " * 99 + "x"),
    ],
)
def test_d1s_words_are_made_harmless(text: str, clean: str) -> None:
    assert sanitised(text) == clean


@given(st.text())
def test_whatever_d1_says_is_short_printable_and_without_numbers(text: str) -> None:
    clean = sanitised(text)

    assert len(clean) <= 200
    assert clean.isascii()
    assert clean.isprintable()
    assert not re.search(r"[0-9]{4}", clean)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (rejection(UpstreamResponse(400)), error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION),
        (rejection(UpstreamResponse(401)), error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION),
        (rejection(UpstreamResponse(404)), error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION),
        (rejection(UpstreamResponse(429)), error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED),
        (rejection(UpstreamResponse(500)), error_pb2.ERROR_REASON_UPSTREAM_FAILED),
        (rejection(UpstreamResponse(502)), error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE),
        (rejection(UpstreamResponse(503)), error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE),
        (contract_broken("No token in it.", status=200), error_pb2.ERROR_REASON_UPSTREAM_CONTRACT),
        (D1.unreachable(OSError()), error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE),
        (D1.no_response(), error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE),
        (deadline_exceeded(sent=True), error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE),
    ],
)
def test_a_call_without_a_token_was_never_sent_whatever_kept_the_token(failure: GatewayError, reason: Reason) -> None:
    error = no_token(failure)

    assert error is not failure
    assert (error.reason, error.outcome) == (reason, error_pb2.OUTCOME_NOT_SENT)
    assert error.message.startswith("Nothing was sent, because no access token could be obtained.")
    assert "may have taken effect" not in error.message


@pytest.mark.parametrize("failure", [rejection(UpstreamResponse(502)), D1.no_response(), D1.unreachable(OSError())])
def test_a_token_that_may_be_had_later_makes_the_call_worth_a_retry(failure: GatewayError) -> None:
    assert no_token(failure).retry_after_seconds == 1


def test_a_name_that_does_not_resolve_is_told_as_such() -> None:
    connection = ConnectionKey("d1.invalid", 443, True, True, None, None, None)  # noqa: FBT003
    error = D1.unreachable(aiohttp.ClientConnectorDNSError(connection, OSError(-2, "Name or service not known")))

    assert error.message == "Cannot connect to D1: its name does not resolve."
    assert (error.reason, error.outcome) == (
        error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE,
        error_pb2.OUTCOME_NOT_SENT,
    )
    assert error.retry_after_seconds == 1
