"""The operations that D1 reports, of cards and of consumers: what is read, what is kept, what is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from adapters.d1.callbacks.fields import FieldError, Fields
from adapters.d1.callbacks.operations import parse_consumer_operation, parse_operation
from gateway.json_input import MAX_LEVELS
from gateway.notifications import batch_encoding
from gateway.ports import Event, EventKind, StoredEvent
from issuer.consumer.v1 import operation_pb2 as consumer
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import operation_pb2 as threeds

SECRET = "4111111111111111"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of operation."""

    message: Any
    parse: Callable[[Fields, Any], None]
    full: dict[str, Any]
    required: list[str]
    optional: list[str]

    def __call__(self, changes: dict[str, Any] | None = None, *, without: str = "") -> Any:
        """Read an operation that has every field, with changes."""
        body = {name: value for name, value in (self.full | (changes or {})).items() if name != without}
        operation = self.message()
        self.parse(Fields(orjson.loads(orjson.dumps(body))), operation)
        return operation

    def refusal(self, changes: dict[str, Any] | None = None, *, without: str = "") -> str:
        """Have an operation refused, and return why."""
        with pytest.raises(FieldError) as caught:
            self(changes, without=without)
        assert SECRET not in str(caught.value)
        return str(caught.value)


THREE_DS = Kind(
    threeds.ThreeDSOperation,
    parse_operation,
    {
        "operationId": "op-1",
        "operation": "3DS_CHALLENGE_OOB",
        "status": "FAILED",
        "startTime": "2022-06-16T06:28:02.492Z",
        "consumerId": "consumer-1",
        "details": {"acsTransactionId": "acs-1", "threeDSServerTransId": "server-1"},
        "error": "The cardholder did not answer.",
    },
    ["operationId", "operation", "status", "startTime"],
    ["consumerId", "details", "error"],
)
CONSUMER = Kind(
    consumer.ConsumerOperation,
    parse_consumer_operation,
    {
        "operationId": "op-1",
        "operation": "ENROLL_AUTHN",
        "status": "FAILED",
        "startTime": "2022-06-16T06:28:02.492Z",
        "endTime": "2022-06-16T06:28:03Z",
        "details": {"appInstanceId": "app-1"},
        "error": "The app did not answer.",
    },
    ["operationId", "operation", "status"],
    ["startTime", "endTime", "details", "error"],
)
KINDS = {"3DS": THREE_DS, "consumer": CONSUMER}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
REQUIRED = [(kind, name) for kind in KINDS.values() for name in kind.required]
OPTIONAL = [(kind, name) for kind in KINDS.values() for name in kind.optional]


def test_every_known_field_of_a_3ds_operation_is_read() -> None:
    expected = threeds.ThreeDSOperation(
        operation_id="op-1",
        type=threeds.THREE_DS_OPERATION_TYPE_CHALLENGE_OOB,
        type_text="3DS_CHALLENGE_OOB",
        status=threeds.THREE_DS_OPERATION_STATUS_FAILED,
        status_text="FAILED",
        start_time_text="2022-06-16T06:28:02.492Z",
        consumer_id="consumer-1",
        details=threeds.ThreeDSOperationDetails(acs_trans_id="acs-1", three_ds_server_trans_id="server-1"),
        error="The cardholder did not answer.",
    )
    expected.start_time.FromJsonString("2022-06-16T06:28:02.492Z")

    assert THREE_DS() == expected


def test_every_known_field_of_a_consumers_operation_is_read() -> None:
    expected = consumer.ConsumerOperation(
        operation_id="op-1",
        type=consumer.CONSUMER_OPERATION_TYPE_ENROLL_AUTHN,
        type_text="ENROLL_AUTHN",
        status=consumer.CONSUMER_OPERATION_STATUS_FAILED,
        status_text="FAILED",
        start_time_text="2022-06-16T06:28:02.492Z",
        end_time_text="2022-06-16T06:28:03Z",
        details=consumer.ConsumerOperationDetails(app_instance_id="app-1"),
        error="The app did not answer.",
    )
    expected.start_time.FromJsonString("2022-06-16T06:28:02.492Z")
    expected.end_time.FromJsonString("2022-06-16T06:28:03Z")

    assert CONSUMER() == expected


@pytest.mark.parametrize(
    ("kind", "field", "text", "name"),
    [
        *((THREE_DS, "TYPE", f"3DS_{name}", name) for name in ("FRICTIONLESS", "CHALLENGE_OOB", "CHALLENGE_OTP_SMS")),
        (THREE_DS, "TYPE", "3DS_CHALLENGE_OOB_ISSUER", "CHALLENGE_OOB_ISSUER"),
        *((CONSUMER, "TYPE", name, name) for name in ("REGISTER", "DELETE", "SUSPEND", "RESUME")),
        *((CONSUMER, "TYPE", name, name) for name in ("ENROLL_AUTHN", "DELETE_AUTHN", "CLICK_TO_PAY_UPDATE")),
        *((THREE_DS, "TYPE", text, "") for text in ("3DS_CHALLENGE_FIDO", "FRICTIONLESS", "3ds_frictionless")),
        *((THREE_DS, "TYPE", text, "") for text in ("3DS_UNSPECIFIED", "3DS_")),
        *((CONSUMER, "TYPE", text, "") for text in ("UNSPECIFIED", "enroll_authn")),
        *((THREE_DS, "STATUS", name, name) for name in ("SUCCESSFUL", "FAILED")),
        *((THREE_DS, "STATUS", text, "") for text in ("PENDING", "UNSPECIFIED", "successful")),
        *((CONSUMER, "STATUS", name, name) for name in ("SUCCESSFUL", "FAILED", "PENDING")),
        *((CONSUMER, "STATUS", text, "") for text in ("UNSPECIFIED", "DONE")),
    ],
)
def test_a_type_or_a_status_is_known_or_kept_as_text(kind: Kind, field: str, text: str, name: str) -> None:
    messages, prefix = (threeds, "THREE_DS_OPERATION") if kind is THREE_DS else (consumer, "CONSUMER_OPERATION")
    number = getattr(messages, f"{prefix}_{field}_{name or 'UNSPECIFIED'}")

    if field == "TYPE":
        operation = kind({"operation": text})
        assert (operation.type, operation.type_text) == (number, text)
    else:
        operation = kind({"status": text})
        assert (operation.status, operation.status_text) == (number, text)


@each_kind
def test_a_time_that_cannot_be_read_is_kept_as_text(kind: Kind) -> None:
    operation = kind({"startTime": "yesterday, about noon"})

    assert not operation.HasField("start_time")
    assert operation.start_time_text == "yesterday, about noon"


def test_the_first_moment_of_1970_is_a_time() -> None:
    operation = CONSUMER({"endTime": "1970-01-01T00:00:00Z"})

    assert operation.HasField("end_time")
    assert operation.end_time.seconds == 0


@pytest.mark.parametrize(("kind", "field"), REQUIRED)
def test_a_required_field_that_is_absent_or_no_text_of_its_form_is_refused_by_name(kind: Kind, field: str) -> None:
    assert kind.refusal(without=field).startswith(f"{field} must ")
    for wrong in (None, "", 7, 7.5, True, [SECRET], {"pan": SECRET}, SECRET + "4" * 49):
        assert kind.refusal({field: wrong}).startswith(f"{field} must ")
    kind({field: "4" * 64})


@pytest.mark.parametrize(
    ("kind", "field"), [(THREE_DS, "operationId"), (THREE_DS, "consumerId"), (CONSUMER, "operationId")]
)
@pytest.mark.parametrize("wrong", [f"{SECRET} ", f"{SECRET}/", f"{SECRET}\n", "ä", f"{SECRET}."])
def test_an_id_with_other_characters_is_refused_by_name(kind: Kind, field: str, wrong: str) -> None:
    assert kind.refusal({field: wrong}).startswith(f"{field} must match ")


@pytest.mark.parametrize(("kind", "field"), OPTIONAL)
def test_an_optional_field_may_be_absent_or_null(kind: Kind, field: str) -> None:
    assert kind(without=field) == kind({field: None}) != kind()
    assert not kind({field: None}).HasField("unrecognized")


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *((field, wrong) for field in THREE_DS.optional for wrong in (7, 7.5, True, [SECRET])),
        ("consumerId", {"pan": SECRET}),
        ("consumerId", SECRET + "4" * 49),
        ("error", {"pan": SECRET}),
        ("error", SECRET + "4" * 4081),
    ],
)
def test_an_optional_field_of_a_3ds_operation_is_refused_by_name_if_it_is_wrong(field: str, wrong: Any) -> None:
    assert THREE_DS.refusal({field: wrong}).startswith(f"{field} must ")


@pytest.mark.parametrize(("field", "longest"), [("consumerId", 64), ("error", 4096)])
def test_an_optional_field_of_a_3ds_operation_may_be_as_long_as_its_rule_says(field: str, longest: int) -> None:
    assert THREE_DS({field: "4" * longest}) != THREE_DS()


@pytest.mark.parametrize(
    ("field", "other"),
    [
        *((field, other) for field in CONSUMER.optional for other in (7.5, True, ["one"])),
        ("startTime", "x" * 65),
        ("endTime", "x" * 65),
        ("error", "x" * 4097),
    ],
)
def test_an_optional_field_of_a_consumers_operation_that_does_not_fit_is_kept_as_it_came(
    field: str, other: Any
) -> None:
    operation = CONSUMER({field: other})

    assert json_format.MessageToDict(operation.unrecognized) == {field: other}
    operation.ClearField("unrecognized")
    assert operation == CONSUMER(without=field)


@pytest.mark.parametrize(("field", "longest"), [("startTime", 64), ("endTime", 64), ("error", 4096)])
def test_an_optional_text_of_a_consumers_operation_fits_to_its_longest(field: str, longest: int) -> None:
    assert not CONSUMER({field: "x" * longest}).HasField("unrecognized")


@pytest.mark.parametrize("field", ["acsTransactionId", "threeDSServerTransId"])
@pytest.mark.parametrize("wrong", [7, {}, [SECRET], SECRET + "4" * 49])
def test_a_detail_that_is_wrong_is_refused_by_its_path(field: str, wrong: Any) -> None:
    assert THREE_DS.refusal({"details": {field: wrong}}).startswith(f"details.{field} must ")


@each_kind
def test_empty_details_are_details_all_the_same(kind: Kind) -> None:
    assert kind({"details": {}}).HasField("details")


@each_kind
def test_unknown_fields_are_kept_where_they_stood(kind: Kind) -> None:
    operation = kind({"riskScore": 0.25, "details": {"merchant": {"name": "A shop", "mcc": None}}})

    assert json_format.MessageToDict(operation.unrecognized) == {"riskScore": 0.25}
    assert json_format.MessageToDict(operation.details.unrecognized) == {"merchant": {"name": "A shop", "mcc": None}}


def test_a_detail_of_a_consumers_operation_of_another_type_is_kept() -> None:
    operation = CONSUMER({"details": {"appInstanceId": 7}})

    assert operation.details.app_instance_id == ""
    assert json_format.MessageToDict(operation.details.unrecognized) == {"appInstanceId": 7}


def nested(levels: int, value: Any) -> Any:
    for _ in range(levels):
        value = {"level": value}
    return value


def delivered(operation: threeds.ThreeDSOperation) -> threeds.ThreeDSOperation:
    """Take an operation along the way to a watcher: serialised for the log, framed in a batch, read by the watcher."""
    taken = notification.Notification(three_ds_operation=operation)
    event = Event(
        issuer_id="",
        kind=EventKind.THREE_DS_OPERATION,
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
    tree = nested(MAX_LEVELS - 2, 1)
    operation = THREE_DS({"details": {"tree": tree}})

    assert delivered(operation) == operation
    assert json_format.MessageToDict(operation.details.unrecognized) == {"tree": tree}


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
    changes=st.dictionaries(st.sampled_from(list(THREE_DS.full)), json_values, max_size=2),
    details=st.dictionaries(st.sampled_from(["acsTransactionId", "merchant"]), json_values, max_size=2),
    additions=st.dictionaries(st.text(max_size=6), json_values, max_size=3),
)
def test_whatever_is_taken_of_a_3ds_operation_can_be_read_by_every_watcher(
    changes: dict[str, Any], details: dict[str, Any], additions: dict[str, Any]
) -> None:
    try:
        operation = THREE_DS({**additions, **THREE_DS.full, "details": details, **changes})
    except FieldError:
        # What is refused never gets that far.
        return

    received = delivered(operation)

    assert received == operation
    assert json_format.Parse(json_format.MessageToJson(received), threeds.ThreeDSOperation()) == operation


@given(
    changes=st.dictionaries(st.sampled_from(list(CONSUMER.full)), json_values, max_size=3),
    additions=st.dictionaries(st.text(max_size=6), json_values, max_size=3),
)
def test_nothing_of_a_consumers_operation_is_refused_but_what_is_required_and_what_is_taken_can_be_read(
    changes: dict[str, Any], additions: dict[str, Any]
) -> None:
    try:
        operation = CONSUMER({**additions, **CONSUMER.full, **changes})
    except FieldError as error:
        assert str(error).partition(" ")[0] in CONSUMER.required  # noqa: PT017  that it may be refused is the point
        return

    received = consumer.ConsumerOperation.FromString(operation.SerializeToString())

    assert received == operation
    assert json_format.Parse(json_format.MessageToJson(received), consumer.ConsumerOperation()) == operation
