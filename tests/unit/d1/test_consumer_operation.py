from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from adapters.d1.callbacks.fields import FieldError, Fields
from adapters.d1.callbacks.operations import parse_consumer_operation
from issuer.consumer.v1 import operation_pb2 as consumer

SECRET = "4111111111111111"
FULL: dict[str, Any] = {
    "operationId": "op-1",
    "operation": "ENROLL_AUTHN",
    "status": "FAILED",
    "startTime": "2022-06-16T06:28:02.492Z",
    "endTime": "2022-06-16T06:28:03Z",
    "details": {"appInstanceId": "app-1"},
    "error": "The app did not answer.",
}
REQUIRED = ["operationId", "operation", "status"]
OPTIONAL = ["startTime", "endTime", "details", "error"]


def parse(body: dict[str, Any]) -> consumer.ConsumerOperation:
    parsed: Any = orjson.loads(orjson.dumps(body))
    operation = consumer.ConsumerOperation()
    parse_consumer_operation(Fields(parsed), operation)
    return operation


def refused(body: dict[str, Any]) -> str:
    with pytest.raises(FieldError) as caught:
        parse(body)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_every_known_field_is_read() -> None:
    expected = consumer.ConsumerOperation(
        operation_id="op-1",
        type=consumer.CONSUMER_OPERATION_TYPE_ENROLL_AUTHN,
        operation_text="ENROLL_AUTHN",
        status=consumer.CONSUMER_OPERATION_STATUS_FAILED,
        status_text="FAILED",
        start_time_text="2022-06-16T06:28:02.492Z",
        end_time_text="2022-06-16T06:28:03Z",
        details=consumer.ConsumerOperationDetails(app_instance_id="app-1"),
        error="The app did not answer.",
    )
    expected.start_time.FromJsonString("2022-06-16T06:28:02.492Z")
    expected.end_time.FromJsonString("2022-06-16T06:28:03Z")

    assert parse(FULL) == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("REGISTER", consumer.CONSUMER_OPERATION_TYPE_REGISTER),
        ("DELETE", consumer.CONSUMER_OPERATION_TYPE_DELETE),
        ("SUSPEND", consumer.CONSUMER_OPERATION_TYPE_SUSPEND),
        ("RESUME", consumer.CONSUMER_OPERATION_TYPE_RESUME),
        ("ENROLL_AUTHN", consumer.CONSUMER_OPERATION_TYPE_ENROLL_AUTHN),
        ("DELETE_AUTHN", consumer.CONSUMER_OPERATION_TYPE_DELETE_AUTHN),
        ("CLICK_TO_PAY_UPDATE", consumer.CONSUMER_OPERATION_TYPE_CLICK_TO_PAY_UPDATE),
        ("UNSPECIFIED", consumer.CONSUMER_OPERATION_TYPE_UNSPECIFIED),
        ("enroll_authn", consumer.CONSUMER_OPERATION_TYPE_UNSPECIFIED),
    ],
)
def test_an_operation_is_known_or_kept_as_text(text: str, number: int) -> None:
    operation = parse({**FULL, "operation": text})

    assert (operation.type, operation.operation_text) == (number, text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SUCCESSFUL", consumer.CONSUMER_OPERATION_STATUS_SUCCESSFUL),
        ("FAILED", consumer.CONSUMER_OPERATION_STATUS_FAILED),
        ("PENDING", consumer.CONSUMER_OPERATION_STATUS_PENDING),
        ("UNSPECIFIED", consumer.CONSUMER_OPERATION_STATUS_UNSPECIFIED),
        ("DONE", consumer.CONSUMER_OPERATION_STATUS_UNSPECIFIED),
    ],
)
def test_a_status_is_known_or_kept_as_text(text: str, number: int) -> None:
    operation = parse({**FULL, "status": text})

    assert (operation.status, operation.status_text) == (number, text)


def test_only_the_id_the_operation_and_the_status_have_to_be_there() -> None:
    operation = parse({name: FULL[name] for name in REQUIRED})

    assert operation.operation_id == "op-1"
    assert (operation.start_time_text, operation.end_time_text, operation.error) == ("", "", "")
    assert not any(operation.HasField(name) for name in ("start_time", "end_time", "details", "unrecognized"))


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_required_field_that_is_absent_null_empty_or_no_text_is_refused_by_name(missing: str) -> None:
    absent = {name: value for name, value in FULL.items() if name != missing}

    for body in (absent, *({**FULL, missing: wrong} for wrong in (None, "", 7, [SECRET], {"pan": SECRET}, "x" * 65))):
        assert refused(body).startswith(f"{missing} must ")


@pytest.mark.parametrize("wrong", [f"{SECRET} ", f"{SECRET}/", "ä"])
def test_an_id_with_other_characters_is_refused_by_name(wrong: str) -> None:
    assert refused({**FULL, "operationId": wrong}).startswith("operationId must match ")


@pytest.mark.parametrize("missing", OPTIONAL)
def test_an_optional_field_may_be_absent_or_null(missing: str) -> None:
    absent = {name: value for name, value in FULL.items() if name != missing}

    assert parse(absent) == parse({**FULL, missing: None}) != parse(FULL)
    assert not parse({**FULL, missing: None}).HasField("unrecognized")


@pytest.mark.parametrize("field", OPTIONAL)
@pytest.mark.parametrize("other", [7.5, True, ["one"]])
def test_an_optional_field_of_another_type_is_kept_as_it_came(field: str, other: Any) -> None:
    absent = {name: value for name, value in FULL.items() if name != field}

    operation = parse({**FULL, field: other})

    assert json_format.MessageToDict(operation.unrecognized) == {field: other}
    operation.ClearField("unrecognized")
    assert operation == parse(absent)


@pytest.mark.parametrize(("field", "longest"), [("startTime", 64), ("endTime", 64), ("error", 4096)])
def test_a_text_that_is_longer_than_expected_is_kept_as_it_came(field: str, longest: int) -> None:
    assert not parse({**FULL, field: "x" * longest}).HasField("unrecognized")

    operation = parse({**FULL, field: "x" * (longest + 1)})

    assert json_format.MessageToDict(operation.unrecognized) == {field: "x" * (longest + 1)}


def test_a_detail_of_another_type_and_unknown_fields_are_kept_where_they_stood() -> None:
    operation = parse({**FULL, "riskScore": 0.25, "details": {"appInstanceId": 7, "device": {"name": "A phone"}}})

    assert json_format.MessageToDict(operation.unrecognized) == {"riskScore": 0.25}
    assert operation.details.app_instance_id == ""
    assert json_format.MessageToDict(operation.details.unrecognized) == {
        "appInstanceId": 7,
        "device": {"name": "A phone"},
    }


def test_a_time_that_cannot_be_read_is_kept_as_text() -> None:
    operation = parse({**FULL, "startTime": "yesterday, about noon", "endTime": "1970-01-01T00:00:00Z"})

    assert not operation.HasField("start_time")
    assert operation.start_time_text == "yesterday, about noon"
    assert operation.HasField("end_time")
    assert operation.end_time.seconds == 0


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=70)
    | st.sampled_from(["2022-06-16T06:28:02Z", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(
    changes=st.dictionaries(st.sampled_from(list(FULL)), json_values, max_size=3),
    additions=st.dictionaries(st.text(max_size=6), json_values, max_size=3),
)
def test_nothing_is_refused_but_a_wrong_id_operation_or_status_and_what_is_taken_can_be_read(
    changes: dict[str, Any], additions: dict[str, Any]
) -> None:
    try:
        operation = parse({**additions, **FULL, **changes})
    except FieldError as error:
        assert str(error).partition(" ")[0] in REQUIRED  # noqa: PT017  that it may be refused is the point
        # What is refused never gets that far.
        return

    received = consumer.ConsumerOperation.FromString(operation.SerializeToString())

    assert received == operation
    assert json_format.Parse(json_format.MessageToJson(received), consumer.ConsumerOperation()) == operation
