import re
import socket
from email.utils import formatdate
from time import time

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.d1.api.errors import (
    D1,
    contract_broken,
    deadline_exceeded,
    expect_success,
    no_token,
    rejection,
    sanitised,
)
from adapters.http.response import UpstreamResponse
from gateway.errors import GatewayError

STATUSES: dict[tuple[str, str], list[int]] = {
    ("UPSTREAM_CONTRACT", "UNKNOWN"): [301, 304, 600, 999],
    ("UPSTREAM_INVALID", "REJECTED"): [400, 405, 418, 499],
    ("UPSTREAM_AUTHENTICATION", "REJECTED"): [401],
    ("UPSTREAM_FORBIDDEN", "REJECTED"): [403],
    ("UPSTREAM_NOT_FOUND", "REJECTED"): [404],
    ("UPSTREAM_CONFLICT", "REJECTED"): [409],
    ("UPSTREAM_RATE_LIMITED", "REJECTED"): [429],
    ("UPSTREAM_FAILED", "UNKNOWN"): [500, 501, 599],
    ("UPSTREAM_UNAVAILABLE", "UNKNOWN"): [502, 504],
    ("UPSTREAM_UNAVAILABLE", "REJECTED"): [503],
}


def kind_of(error: GatewayError) -> tuple[str, str]:
    """Name an error's reason and its outcome."""
    return error.reason_name, error.outcome_name


def rejected(status: int, body: object = None, retry_after: str = "") -> GatewayError:
    """Return the error for a response."""
    return rejection(UpstreamResponse(status, retry_after, b"" if body is None else orjson.dumps(body)))


@pytest.mark.parametrize(("status", "kind"), [(status, kind) for kind, each in STATUSES.items() for status in each])
def test_every_status_has_its_reason_and_its_outcome(status: int, kind: tuple[str, str]) -> None:
    error = rejected(status)

    assert kind_of(error) == kind
    assert error.metadata == {"upstream": "d1", "upstream_status": str(status)}
    assert f"HTTP {status}" in error.message


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({"errorCode": "STATE_INVALID", "error": "Card is suspended"}, "STATE_INVALID", "Card is suspended"),
        ({"error": "Card does not exist"}, None, "Card does not exist"),
    ],
    ids=["newer", "older"],
)
def test_both_forms_of_error_body_are_read(body: dict[str, str], code: str | None, text: str) -> None:
    error = rejected(403, body)

    assert error.metadata.get("upstream_code") == code
    assert error.message.endswith(f"(HTTP 403{f', {code}' if code else ''}): {text}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \r\n",
        b'{"error": {"a": 1}}',
    ],
)
def test_a_body_of_no_use_leaves_the_status_to_speak(body: bytes) -> None:
    error = rejection(UpstreamResponse(409, body=body))

    assert kind_of(error) == ("UPSTREAM_CONFLICT", "REJECTED")
    assert error.message == "The card id or the PAN is in use at D1, or may not be reused (HTTP 409)."


PAGE = b"<html><title>Request Rejected</title></html>"
FOREIGN = ("UPSTREAM_CONTRACT", "UNKNOWN")


@pytest.mark.parametrize("body", [PAGE, b"not json", b"[1]", b'"text"', b"\xff\xfe", b"[" * 9999, b'{"a":' * 17 + b"1"])
@pytest.mark.parametrize("status", [200, 204, 302, 400, 403, 404, 409, 418])
def test_what_a_proxy_or_firewall_sends_does_not_speak_for_d1(status: int, body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        expect_success(UpstreamResponse(status, body=body, content_type="text/HTML; charset=utf-8"))

    assert kind_of(caught.value) == FOREIGN
    assert caught.value.metadata == {"upstream": "d1", "upstream_status": str(status)}
    assert caught.value.message == (
        "The response is not D1's own; a firewall or proxy may have sent it "
        f"(HTTP {status}): its body (text/html) is no JSON object."
    )


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, ("UPSTREAM_AUTHENTICATION", "REJECTED")),
        (429, ("UPSTREAM_RATE_LIMITED", "REJECTED")),
        (500, ("UPSTREAM_FAILED", "UNKNOWN")),
        (502, ("UPSTREAM_UNAVAILABLE", "UNKNOWN")),
        (503, ("UPSTREAM_UNAVAILABLE", "UNKNOWN")),
    ],
)
def test_a_page_keeps_the_meaning_of_a_status_that_means_the_same_from_anybody(
    status: int, kind: tuple[str, str]
) -> None:
    error = rejection(UpstreamResponse(status, body=PAGE, content_type="text/html"))

    assert kind_of(error) == kind
    assert error.message.endswith(f"(HTTP {status}): its body (text/html) is no JSON object.")
    assert (error.retry_after_seconds is not None) is (status == 429)


@pytest.mark.parametrize(
    ("header", "named"),
    [("", "no content type"), ("a b " * 50, "a b " * 14 + "a b"), (f"text/{4111111111111111}", "text/****")],
)
def test_a_content_type_is_named_without_trust(header: str, named: str) -> None:
    error = rejection(UpstreamResponse(200, body=PAGE, content_type=header))

    assert f"({named})" in error.message


@pytest.mark.parametrize("body", [b"", b" ", b"{}", b'{"cardId":"card-1"}', b'{"operationId":"op","error":"Failed"}'])
def test_a_success_has_no_body_or_a_json_object(body: bytes) -> None:
    expect_success(UpstreamResponse(200, body=body, content_type="text/plain"))


@pytest.mark.parametrize("body", [{"errorCode": "STATE_INVALID", "error": "Suspended"}, {"error": "Suspended"}])
def test_a_success_with_the_body_of_an_error_breaks_the_contract(body: dict[str, str]) -> None:
    with pytest.raises(GatewayError) as caught:
        expect_success(UpstreamResponse(200, body=orjson.dumps(body)))

    assert kind_of(caught.value) == FOREIGN


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
    assert "upstream_code" not in rejected(400, {"errorCode": code}).metadata


@pytest.mark.parametrize(
    ("code", "text", "named"),
    [
        ("FIELD_INVALID_FORMAT", "cardProductId", [("card_product_id", "FIELD_INVALID_FORMAT")]),
        ("FIELD_INVALID_FORMAT", "dateOfBirth", [("date_of_birth", "FIELD_INVALID_FORMAT")]),
        (
            "FIELD_INVALID_FORMAT",
            "personalInformation.mobilePhoneNumber.phoneNumber",
            [("personal_information.mobile_phone_number.phone_number", "FIELD_INVALID_FORMAT")],
        ),
        # Unknown to the gateway, or no field.
        ("FIELD_INVALID_VALUE", "personalInformation.shoe", [("personal_information.shoe", "FIELD_INVALID_VALUE")]),
        ("FIELD_INVALID_VALUE", "accounts[0].iban", [("accounts[0].iban", "FIELD_INVALID_VALUE")]),
        ("FIELD_INVALID_VALUE", "Something is wrong", []),
        ("STATE_INVALID", "cardProductId", []),
    ],
)
def test_a_field_that_d1_rejects_is_named_as_the_caller_knows_it(
    code: str, text: str, named: list[tuple[str, str]]
) -> None:
    error = rejected(400, {"errorCode": code, "error": text})

    assert [(violation.field, violation.rule) for violation in error.violations] == named
    assert error.message.endswith(f": {text}")


@pytest.mark.parametrize(
    ("header", "seconds"), [(" 17 ", 17), ("", 1), ("soon", 1), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)]
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_rejection_that_may_be_retried_always_says_when(status: int, header: str, seconds: int) -> None:
    assert rejected(status, retry_after=header).retry_after_seconds == seconds


def test_the_date_of_a_retry_after_is_passed_on_as_seconds() -> None:
    now = int(time())
    seconds = rejected(429, retry_after=formatdate(now + 60, usegmt=True)).retry_after_seconds

    assert seconds is not None
    assert now + 60 - time() <= seconds <= 60


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500, 502, 504])
def test_no_delay_is_named_where_it_would_invite_a_wrong_repetition(status: int) -> None:
    assert rejected(status, retry_after="5").retry_after_seconds is None


@given(st.text(max_size=60) | st.from_regex(r"[0-9]{1,5000}", fullmatch=True))
@example("Fri, 99999999999999999999 Jan 2020 10:00:00 GMT")
@example("Fri, 1 Jan 99999999999999999999 10:00:00 GMT")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("Fri, 1 Jan 0001 00:00:00 -0000")
def test_no_retry_after_breaks_anything_or_asks_for_more_than_a_day(header: str) -> None:
    error = rejected(429, retry_after=header)

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
        ("rania@bank.example 791234567", "**** ****"),
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
    ("failure", "reason", "seconds"),
    [
        *((rejected(status), "UPSTREAM_AUTHENTICATION", None) for status in (400, 401, 403, 404)),
        (rejected(429), "UPSTREAM_RATE_LIMITED", 1),
        (rejected(500), "UPSTREAM_FAILED", None),
        (rejected(502), "UPSTREAM_UNAVAILABLE", 1),
        (rejected(503), "UPSTREAM_UNAVAILABLE", 1),
        (rejected(503, retry_after="7"), "UPSTREAM_UNAVAILABLE", 7),
        (contract_broken("No token in it.", status=200), "UPSTREAM_CONTRACT", None),
        (D1.unreachable(OSError()), "UPSTREAM_UNREACHABLE", 1),
        (D1.no_response(), "UPSTREAM_UNREACHABLE", 1),
        (deadline_exceeded(sent=True), "UPSTREAM_UNREACHABLE", 1),
    ],
)
def test_a_call_without_a_token_was_never_sent_and_may_be_retried_if_one_may_be_had_later(
    failure: GatewayError, reason: str, seconds: int | None
) -> None:
    error = no_token(failure)

    assert error is not failure
    assert kind_of(error) == (reason, "NOT_SENT")
    assert (error.retry_after_seconds, error.metadata) == (seconds, failure.metadata)
    assert error.message.startswith("Nothing was sent, because no access token could be obtained.")
    assert "may have taken effect" not in error.message


def test_a_name_that_does_not_resolve_is_reported_as_such() -> None:
    error = D1.unreachable(socket.gaierror(-2, "Name or service not known"))

    assert error.message == "Cannot connect to D1: its name does not resolve."
    assert kind_of(error) == ("UPSTREAM_UNREACHABLE", "NOT_SENT")
    assert error.retry_after_seconds == 1
