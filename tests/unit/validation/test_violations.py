import pytest
from google.rpc import error_details_pb2

from gateway.errors import FieldViolation, GatewayError
from gateway.validation.truncate import MAX_VIOLATIONS, invalid_request
from issuer.common.v1 import error_pb2

LIMIT = 5_000
"""What stands in 8 KiB of metadata as base64, with the message once more and a correlation id."""


def some(count: int, length: int = 40) -> list[FieldViolation]:
    return [FieldViolation(f"areq.field_{number}", "x" * length, "emv.pattern") for number in range(count)]


def size_of(error: GatewayError) -> int:
    return len(error.to_status("x" * 64).SerializeToString())


def test_a_few_violations_are_sent_as_they_are() -> None:
    violations = some(12, 200)

    error = invalid_request(violations)

    assert error.violations == tuple(violations)
    assert error.reason == error_pb2.ERROR_REASON_INVALID_REQUEST
    assert error.outcome == error_pb2.ERROR_OUTCOME_NOT_SENT
    assert error.message == (
        "Invalid request: areq.field_0, areq.field_1, areq.field_2, areq.field_3, areq.field_4 and 7 more"
    )


def test_a_single_violation_is_told_in_the_message() -> None:
    field = invalid_request([FieldViolation("card_id", "is required", "string.pattern")])
    whole = invalid_request([FieldViolation("", "the bytes are none", "protobuf.encoding")])

    assert field.message == "Invalid request: card_id is required"
    assert whole.message == "Invalid request: the bytes are none"


def test_a_field_that_breaks_two_rules_is_named_once_in_the_message() -> None:
    error = invalid_request(
        [FieldViolation("a", "x", "r1"), FieldViolation("a", "y", "r2"), FieldViolation("", "", "")]
    )

    assert error.message == "Invalid request: a, the request as a whole"
    assert len(error.violations) == 3


@pytest.mark.parametrize("count", [30, 60, 80])
def test_descriptions_give_way_before_violations_do(count: int) -> None:
    violations = some(count, 300)

    error = invalid_request(violations)

    assert [violation.field for violation in error.violations] == [violation.field for violation in violations]
    assert all(len(violation.description) < 300 for violation in error.violations)
    assert "omitted" not in error.message
    assert size_of(error) <= LIMIT


@pytest.mark.parametrize("count", [200, 201, 100_000])
def test_what_does_not_fit_is_counted(count: int) -> None:
    passed = min(count, MAX_VIOLATIONS)

    error = invalid_request(some(passed, 300), unnamed_count=count - passed)

    named = len(error.violations)
    assert 60 < named < 200
    assert f"; {count - named} more violations omitted" in error.message
    assert [violation.field for violation in error.violations] == [f"areq.field_{number}" for number in range(named)]
    assert size_of(error) <= LIMIT


def test_even_a_path_without_end_is_cut_off_somewhere() -> None:
    error = invalid_request([FieldViolation("a" * 10_000, "", "rule")])

    assert size_of(error) <= LIMIT
    assert error.message.endswith("; 1 more violations omitted")


def test_a_shortened_description_is_seen_to_be_one() -> None:
    status = invalid_request(some(40, 300)).to_status("correlation")

    bad_request = error_details_pb2.BadRequest()
    assert status.details[2].Unpack(bad_request)
    assert all(violation.description.endswith("...") for violation in bad_request.field_violations)
