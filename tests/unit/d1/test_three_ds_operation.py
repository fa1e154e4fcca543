from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from adapters.d1.callbacks.fields import FieldError, Fields
from adapters.d1.callbacks.operations import parse_operation
from gateway.notifications import batch_encoding
from gateway.ports import Event, StoredEvent
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import operation_pb2 as threeds

SECRET = "4111111111111111"
FULL: dict[str, Any] = {
    "operationId": "op-1",
    "operation": "3DS_CHALLENGE_OOB",
    "status": "FAILED",
    "startTime": "2022-06-16T06:28:02.492Z",
    "consumerId": "consumer-1",
    "details": {"acsTransactionId": "acs-1", "threeDSServerTransId": "server-1"},
    "error": "The cardholder did not answer.",
}
REQUIRED = ["operationId", "operation", "status", "startTime"]


def parse(body: dict[str, Any]) -> threeds.Operation:
    parsed: Any = orjson.loads(orjson.dumps(body))
    operation = threeds.Operation()
    parse_operation(Fields(parsed), operation)
    return operation


def refused(body: dict[str, Any]) -> str:
    with pytest.raises(FieldError) as caught:
        parse(body)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_every_known_field_is_read() -> None:
    operation = parse(FULL)

    expected = threeds.Operation(
        operation_id="op-1",
        type=threeds.OPERATION_TYPE_CHALLENGE_OOB,
        operation_text="3DS_CHALLENGE_OOB",
        status=threeds.OPERATION_STATUS_FAILED,
        status_text="FAILED",
        start_time_text="2022-06-16T06:28:02.492Z",
        consumer_id="consumer-1",
        details=threeds.OperationDetails(acs_transaction_id="acs-1", three_ds_server_trans_id="server-1"),
        error="The cardholder did not answer.",
    )
    expected.start_time.FromJsonString("2022-06-16T06:28:02.492Z")
    assert operation == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3DS_FRICTIONLESS", threeds.OPERATION_TYPE_FRICTIONLESS),
        ("3DS_CHALLENGE_OOB", threeds.OPERATION_TYPE_CHALLENGE_OOB),
        ("3DS_CHALLENGE_OOB_ISSUER", threeds.OPERATION_TYPE_CHALLENGE_OOB_ISSUER),
        ("3DS_CHALLENGE_OTP_SMS", threeds.OPERATION_TYPE_CHALLENGE_OTP_SMS),
    ],
)
def test_each_operation_of_d1_is_known(text: str, number: int) -> None:
    assert parse({**FULL, "operation": text}).type == number


@pytest.mark.parametrize(
    "unknown", ["3DS_CHALLENGE_FIDO", "FRICTIONLESS", "3ds_frictionless", "3DS_UNSPECIFIED", "3DS_"]
)
def test_an_unknown_operation_is_kept_as_text(unknown: str) -> None:
    operation = parse({**FULL, "operation": unknown})

    assert operation.type == threeds.OPERATION_TYPE_UNSPECIFIED
    assert operation.operation_text == unknown


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SUCCESSFUL", threeds.OPERATION_STATUS_SUCCESSFUL),
        ("FAILED", threeds.OPERATION_STATUS_FAILED),
        ("PENDING", threeds.OPERATION_STATUS_UNSPECIFIED),
        ("UNSPECIFIED", threeds.OPERATION_STATUS_UNSPECIFIED),
        ("successful", threeds.OPERATION_STATUS_UNSPECIFIED),
    ],
)
def test_a_status_is_known_or_kept_as_text(text: str, number: int) -> None:
    operation = parse({**FULL, "status": text})

    assert (operation.status, operation.status_text) == (number, text)


def test_a_time_that_cannot_be_read_is_kept_as_text() -> None:
    operation = parse({**FULL, "startTime": "yesterday, about noon"})

    assert not operation.HasField("start_time")
    assert operation.start_time_text == "yesterday, about noon"


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_required_field_that_is_absent_null_or_empty_is_refused_by_name(missing: str) -> None:
    absent = {name: value for name, value in FULL.items() if name != missing}

    for body in (absent, {**FULL, missing: None}, {**FULL, missing: ""}):
        assert refused(body).startswith(f"{missing} must ")


@pytest.mark.parametrize("missing", ["consumerId", "details", "error"])
def test_an_optional_field_may_be_absent_or_null(missing: str) -> None:
    absent = {name: value for name, value in FULL.items() if name != missing}

    assert parse(absent) == parse({**FULL, missing: None}) != parse(FULL)


@pytest.mark.parametrize("field", [*REQUIRED, "consumerId", "details", "error"])
@pytest.mark.parametrize("wrong", [7, 7.5, True, [SECRET]])
def test_a_field_of_the_wrong_type_is_refused_by_name(field: str, wrong: Any) -> None:
    assert refused({**FULL, field: wrong}).startswith(f"{field} must ")


@pytest.mark.parametrize("field", [*REQUIRED, "consumerId", "error"])
def test_an_object_where_text_belongs_is_refused_by_name(field: str) -> None:
    assert refused({**FULL, field: {"pan": SECRET}}).startswith(f"{field} must ")


@pytest.mark.parametrize(
    ("field", "longest"),
    [("operationId", 64), ("operation", 64), ("status", 64), ("startTime", 64), ("consumerId", 64), ("error", 4096)],
)
def test_a_field_may_be_as_long_as_its_rule_says_and_no_longer(field: str, longest: int) -> None:
    parse({**FULL, field: "4" * longest})

    assert refused({**FULL, field: SECRET + "4" * (longest - 15)}).startswith(f"{field} must ")


@pytest.mark.parametrize("field", ["operationId", "consumerId"])
@pytest.mark.parametrize("wrong", [f"{SECRET} ", f"{SECRET}/", f"{SECRET}\n", "ä", f"{SECRET}."])
def test_an_id_with_other_characters_is_refused_by_name(field: str, wrong: str) -> None:
    assert refused({**FULL, field: wrong}).startswith(f"{field} must match ")


@pytest.mark.parametrize("field", ["acsTransactionId", "threeDSServerTransId"])
@pytest.mark.parametrize("wrong", [7, {}, [SECRET], SECRET + "4" * 49])
def test_a_detail_that_is_wrong_is_refused_by_its_path(field: str, wrong: Any) -> None:
    assert refused({**FULL, "details": {field: wrong}}).startswith(f"details.{field} must ")


def test_empty_details_are_details_all_the_same() -> None:
    assert parse({**FULL, "details": {}}).HasField("details")


def test_unknown_fields_are_kept_where_they_stood() -> None:
    operation = parse({**FULL, "riskScore": 0.25, "details": {"merchant": {"name": "A shop", "mcc": None}}})

    assert json_format.MessageToDict(operation.unrecognized) == {"riskScore": 0.25}
    assert json_format.MessageToDict(operation.details.unrecognized) == {"merchant": {"name": "A shop", "mcc": None}}


def test_without_unknown_fields_nothing_is_unrecognized() -> None:
    operation = parse(FULL)

    assert not operation.HasField("unrecognized")
    assert not operation.details.HasField("unrecognized")


def test_an_unknown_detail_that_nests_too_deep_is_refused_by_its_path() -> None:
    deep: Any = SECRET
    for _ in range(16):
        deep = [deep]

    assert refused({**FULL, "details": {"tree": deep}}) == "details.tree nests deeper than 16 levels"


def delivered(operation: threeds.Operation) -> threeds.Operation:
    """Take an operation along the way to a watcher: serialised for the log, framed in a batch, read by the watcher."""
    taken = notification.Notification(three_ds_operation=operation)
    event = Event(
        issuer_id="",
        kind=notification.NOTIFICATION_KIND_THREE_DS_OPERATION,
        subject_id="",
        operation_id=operation.operation_id,
        consumer_id=operation.consumer_id,
        operation_type=operation.type,
        status=operation.status,
        receive_time_ms=0,
        payload=taken.SerializeToString(),
    )
    sent = batch_encoding.batch(
        "0a1b2c3d", [StoredEvent(1, event)], 1, batch_encoding.watcher_fields(notification.WATCHER_ROLE_ACTIVE)
    )
    (received,) = notification.WatchNotificationsResponse.FromString(sent).notifications
    return received.three_ds_operation


def test_the_deepest_body_that_is_taken_can_be_read_by_every_watcher() -> None:
    deep: Any = 1
    for _ in range(15):
        deep = {"level": deep}

    operation = parse({**FULL, "details": {"tree": deep}})

    assert delivered(operation) == operation
    assert json_format.MessageToDict(operation.details.unrecognized) == {"tree": deep}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # What a careless parser may stumble over.
    | st.text(max_size=70)
    | st.sampled_from(["2022-06-16T06:28:02Z", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "op-1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(
    changes=st.dictionaries(st.sampled_from(list(FULL)), json_values, max_size=2),
    details=st.dictionaries(st.sampled_from(["acsTransactionId", "merchant"]), json_values, max_size=2),
    additions=st.dictionaries(st.text(max_size=6), json_values, max_size=3),
)
def test_whatever_is_taken_can_be_read_by_every_watcher(
    changes: dict[str, Any], details: dict[str, Any], additions: dict[str, Any]
) -> None:
    try:
        operation = parse({**additions, **FULL, "details": details, **changes})
    except FieldError:
        # What is refused never gets that far.
        return

    received = delivered(operation)

    assert received == operation
    assert json_format.Parse(json_format.MessageToJson(received), threeds.Operation()) == operation
