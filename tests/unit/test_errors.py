import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import DOMAIN, FieldViolation, GatewayError, shown
from issuer.common.v1 import error_pb2
from issuer.common.v1.error_pb2 import ErrorDetail

CONTRACT = Path(__file__).parents[2] / "proto/issuer/common/v1/error.proto"
REASONS = [reason for reason in error_pb2.ErrorReason.values() if reason != error_pb2.ERROR_REASON_UNSPECIFIED]


def contract_comments() -> dict[str, str]:
    """Return the comment of every reason in the contract, as one line."""
    comments: dict[str, str] = {}
    comment: list[str] = []
    for line in CONTRACT.read_text().splitlines():
        text = line.strip()
        if text.startswith("//"):
            comment.append(text.removeprefix("// "))
            continue
        comments[text.partition(" ")[0]] = " ".join(comment)
        comment = []
    return comments


def named_by_services() -> set[tuple[str, str]]:
    """Return each status and reason, without prefix, that a comment of a service or an rpc names."""
    files = CONTRACT.parents[2].glob("*/v1/service.proto")
    comments = " ".join(re.sub(r"\s*//\s*", " ", file.read_text()) for file in files)
    return {
        (code, reason)
        for code, reasons in re.findall(r"\b([A-Z_]+) \(([A-Z_]+(?:, [A-Z_]+)*)\)", comments)
        for reason in reasons.split(", ")
    }


def detail(error: GatewayError, kind: type[Message]) -> Any:
    """Take the one detail of a kind out of the error's status."""
    found = [any_ for any_ in error.to_status("an-id").details if any_.Is(kind.DESCRIPTOR)]
    assert len(found) == 1
    message = kind()
    found[0].Unpack(message)
    return message


def test_every_reason_is_a_common_one_or_named_by_a_service_with_its_status() -> None:
    (common,) = re.findall(r"(?s)// Common reasons: (.*?) Services and rpcs", CONTRACT.read_text())
    statuses = {GatewayError(reason, "").reason_name: GatewayError(reason, "").code.name for reason in REASONS}
    particular = named_by_services()
    assert {(statuses.get(reason), reason) for _, reason in particular} == particular
    assert set(re.findall(r"[A-Z_]{5,}", common)) | {reason for _, reason in particular} == statuses.keys()


@pytest.mark.parametrize("reason", REASONS, ids=error_pb2.ErrorReason.Name)
def test_every_reason_has_a_status_and_a_name(reason: "error_pb2.ErrorReason.ValueType") -> None:
    error = GatewayError(reason, "A message.")

    status = error.to_status("an-id")

    assert error.code is not grpc.StatusCode.OK
    assert status.code == error.code.value[0]
    assert status.message == "A message."
    assert "ERROR_REASON_" + error.reason_name == error_pb2.ErrorReason.Name(reason)


def test_every_reason_has_the_status_that_its_comment_in_the_contract_names() -> None:
    comments = contract_comments()

    for reason in REASONS:
        code = GatewayError(reason, "").code
        assert f"Status {code.name}." in comments[error_pb2.ErrorReason.Name(reason)]


def test_the_error_info_tells_programs_what_happened() -> None:
    error = GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_CONFLICT,
        "The card id is in use.",
        outcome=error_pb2.ERROR_OUTCOME_UNKNOWN,
        detail=ErrorDetail(upstream="d1", upstream_status=409),
    )

    info = detail(error, error_details_pb2.ErrorInfo)

    assert (info.reason, info.domain) == ("UPSTREAM_CONFLICT", DOMAIN)
    assert dict(info.metadata) == {
        "upstream": "d1",
        "upstream_status": "409",
        "outcome": "UNKNOWN",
        "correlation_id": "an-id",
    }


@pytest.mark.parametrize("outcome", [each for each in error_pb2.ErrorOutcome.values() if each])
def test_every_outcome_has_its_name(outcome: "error_pb2.ErrorOutcome.ValueType") -> None:
    error = GatewayError(error_pb2.ERROR_REASON_INTERNAL, "", outcome=outcome)

    assert detail(error, error_details_pb2.ErrorInfo).metadata["outcome"] == error.outcome_name
    assert "ERROR_OUTCOME_" + error.outcome_name == error_pb2.ErrorOutcome.Name(outcome)


def test_what_an_error_is_and_of_which_call_cannot_be_replaced_by_its_detail() -> None:
    error = GatewayError(
        error_pb2.ERROR_REASON_INTERNAL,
        "",
        detail=ErrorDetail(
            reason=error_pb2.ERROR_REASON_CURSOR_UNKNOWN,
            outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
            correlation_id="another",
        ),
    )

    assert detail(error, ErrorDetail) == ErrorDetail(
        reason=error_pb2.ERROR_REASON_INTERNAL, outcome=error_pb2.ERROR_OUTCOME_REJECTED, correlation_id="an-id"
    )
    assert dict(detail(error, error_details_pb2.ErrorInfo).metadata) == {
        "outcome": "REJECTED",
        "correlation_id": "an-id",
    }


EVERYTHING = ErrorDetail(
    reason=error_pb2.ERROR_REASON_THREE_DS_REJECTED,
    outcome=error_pb2.ERROR_OUTCOME_REJECTED,
    correlation_id="an-id",
    upstream="threeds",
    upstream_status=200,
    upstream_code="203",
    erro=error_pb2.ThreeDSErro(
        error_component="D",
        error_description="Format wrong",
        error_detail="acctNumber",
        error_message_type="AReq",
        three_ds_server_trans_id="3",
        acs_trans_id="a",
        ds_trans_id="d",
        sdk_trans_id="s",
    ),
    earliest_cursor="c-1",
    idempotent_replay=True,
)


def test_the_detail_and_the_error_info_say_the_same() -> None:
    error = GatewayError(error_pb2.ERROR_REASON_THREE_DS_REJECTED, "", detail=EVERYTHING)

    info = detail(error, error_details_pb2.ErrorInfo)

    assert detail(error, ErrorDetail) == EVERYTHING
    assert len(EVERYTHING.ListFields()) == len(ErrorDetail.DESCRIPTOR.fields), "a new field belongs into this test"
    assert len(EVERYTHING.erro.ListFields()) == len(error_pb2.ThreeDSErro.DESCRIPTOR.fields)
    assert info.reason == "THREE_DS_REJECTED"
    assert dict(info.metadata) == {
        "outcome": "REJECTED",
        "correlation_id": "an-id",
        "upstream": "threeds",
        "upstream_status": "200",
        "upstream_code": "203",
        "error_component": "D",
        "error_description": "Format wrong",
        "error_detail": "acctNumber",
        "error_message_type": "AReq",
        "three_ds_server_trans_id": "3",
        "acs_trans_id": "a",
        "ds_trans_id": "d",
        "sdk_trans_id": "s",
        "earliest_cursor": "c-1",
        "idempotent_replay": "true",
    }


def test_violations_become_a_bad_request() -> None:
    error = GatewayError(
        error_pb2.ERROR_REASON_INVALID_REQUEST,
        "",
        violations=[
            FieldViolation("credentials.pan", "does not match", "string.pattern"),
            FieldViolation("", "a", "b"),
        ],
    )

    violations = detail(error, error_details_pb2.BadRequest).field_violations

    assert [(each.field, each.description, each.reason) for each in violations] == [
        ("credentials.pan", "does not match", "string.pattern"),
        ("", "a", "b"),
    ]


@pytest.mark.parametrize("seconds", [0.0, 0.25, 1.5, 86_400.0])
def test_a_delay_becomes_retry_info(seconds: float) -> None:
    error = GatewayError(error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE, "", retry_after_seconds=seconds)

    assert detail(error, error_details_pb2.RetryInfo).retry_delay.ToTimedelta().total_seconds() == seconds


def test_without_violations_and_delay_there_are_the_error_info_and_the_detail_alone() -> None:
    status = GatewayError(error_pb2.ERROR_REASON_INTERNAL, "").to_status("an-id")

    assert [any_.TypeName() for any_ in status.details] == ["google.rpc.ErrorInfo", "issuer.common.v1.ErrorDetail"]


@given(message=st.text(max_size=200), code=st.text(min_size=1, max_size=50))
def test_any_text_survives_the_way_to_the_caller(message: str, code: str) -> None:
    error = GatewayError(error_pb2.ERROR_REASON_INTERNAL, message, detail=ErrorDetail(upstream_code=code))

    status = type(error.to_status("an-id")).FromString(error.to_status("an-id").SerializeToString())

    assert status.message == str(error) == message
    received = dict(detail(error, error_details_pb2.ErrorInfo).metadata)
    assert received == {"upstream_code": code, "outcome": "REJECTED", "correlation_id": "an-id"}
    assert detail(error, ErrorDetail).upstream_code == code


def test_an_error_can_be_sent_twice() -> None:
    error = GatewayError(error_pb2.ERROR_REASON_INTERNAL, "A message.", detail=ErrorDetail(upstream="d1"))

    assert error.to_status("one") != error.to_status("two")
    assert error.metadata == {"upstream": "d1"}


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("billing-2026", "billing-2026"),
        ("4970101234567890", "****"),
        ("card 4970 1012 3456 7890", "card ****"),
        ("a\nb\x1b[31m\u00e9", "a?b?[31m?"),
        ("x" * 1000, "x" * 120 + "..."),
    ],
)
def test_a_callers_text_is_shown_without_what_may_be_a_card_number(text: str, seen: str) -> None:
    assert shown(text) == seen
