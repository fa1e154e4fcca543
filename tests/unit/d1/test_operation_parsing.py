"""The operations that D1 reports, of cards and of consumers: what is read, what is kept, what is refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from adapters.d1.callbacks.fields import Fields
from adapters.d1.callbacks.operations import parse_consumer_operation, parse_operation
from gateway.formats.json_input import MAX_LEVELS
from gateway.notifications import batch_encoding
from gateway.notifications.events import state_text
from gateway.ports import Event, EventKind
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
        return self.read(changes, without=without)[0]

    def read(self, changes: dict[str, Any] | None = None, *, without: str = "") -> tuple[Any, list[str]]:
        """Read an operation that has every field, with changes. Returns it and what did not fit."""
        body = {name: value for name, value in (self.full | (changes or {})).items() if name != without}
        operation, fields = self.message(), Fields(orjson.loads(orjson.dumps(body)))
        self.parse(fields, operation)
        return operation, fields.misfits


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
        "requestorType": "USER",
        "requestorId": "consumer-1",
        "details": {"appInstanceId": "app-1"},
        "error": "The app did not answer.",
    },
    ["operationId", "operation", "status"],
    ["startTime", "endTime", "requestorType", "requestorId", "details", "error"],
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
        requestor_type_text="USER",
        requestor_id="consumer-1",
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
def test_a_required_field_that_is_absent_is_named_and_the_others_are_read(kind: Kind, field: str) -> None:
    absent, misfits = kind.read(without=field)

    assert misfits == [field]
    assert not absent.HasField("unrecognized")
    assert kind.read({field: None}) == (absent, [field])
    for other in set(kind.required) - {field}:
        assert kind.read({field: None, other: None})[1] == [name for name in _ORDER if name in {field, other}]


_ORDER = ["operation", "status", "startTime", "operationId"]
"""In which the required fields are read."""


@pytest.mark.parametrize(
    ("kind", "field"), [(THREE_DS, "operationId"), (THREE_DS, "consumerId"), (CONSUMER, "operationId")]
)
@pytest.mark.parametrize("wrong", [f"{SECRET} ", f"{SECRET}/", f"{SECRET}\n", "ä", f"{SECRET}.", SECRET + "4" * 49])
def test_an_id_of_another_form_is_kept_and_is_not_the_id(kind: Kind, field: str, wrong: str) -> None:
    operation, misfits = kind.read({field: wrong})

    assert json_format.MessageToDict(operation.unrecognized) == {field: wrong}
    assert misfits == [field]
    operation.ClearField("unrecognized")
    assert operation == kind(without=field)


@pytest.mark.parametrize(("kind", "field"), OPTIONAL)
def test_an_optional_field_may_be_absent_or_null(kind: Kind, field: str) -> None:
    assert kind(without=field) == kind({field: None}) != kind()
    assert not kind({field: None}).HasField("unrecognized")


@pytest.mark.parametrize(
    ("kind", "field", "other"),
    [
        *((kind, field, other) for kind, field in [*REQUIRED, *OPTIONAL] for other in (7.5, True, ["one"])),
        *((kind, field, {"a": "b"}) for kind, field in [*REQUIRED, *OPTIONAL] if field != "details"),
        *((kind, field, "x" * 65) for kind in KINDS.values() for field in ("operation", "status", "startTime")),
        *((CONSUMER, field, "x" * 65) for field in ("endTime", "requestorType", "requestorId")),
        (THREE_DS, "error", "x" * 5_000),
        (CONSUMER, "error", "x" * 4_097),
    ],
)
def test_a_field_that_does_not_fit_is_kept_as_it_came(kind: Kind, field: str, other: Any) -> None:
    operation, misfits = kind.read({field: other})

    assert json_format.MessageToDict(operation.unrecognized) == {field: other}
    assert misfits == [field]
    operation.ClearField("unrecognized")
    assert operation == kind(without=field)


def test_an_empty_consumer_id_is_none() -> None:
    assert THREE_DS.read({"consumerId": ""}) == (THREE_DS(without="consumerId"), ["consumerId"])


@pytest.mark.parametrize(
    ("kind", "field", "longest"),
    [
        *((kind, field, 64) for kind, field in REQUIRED),
        *((CONSUMER, field, 64) for field in ("startTime", "endTime", "requestorType", "requestorId")),
        (THREE_DS, "consumerId", 64),
        *((kind, "error", 4096) for kind in KINDS.values()),
    ],
)
def test_a_text_fits_to_its_longest(kind: Kind, field: str, longest: int) -> None:
    operation, misfits = kind.read({field: "4" * longest})

    assert (operation.HasField("unrecognized"), misfits) == (False, [])


@pytest.mark.parametrize(
    ("kind", "field"), [(THREE_DS, "acsTransactionId"), (THREE_DS, "threeDSServerTransId"), (CONSUMER, "appInstanceId")]
)
@pytest.mark.parametrize("other", [7.5, {}, ["one"], "4" * 65])
def test_a_detail_that_does_not_fit_is_kept_and_named_by_its_path(kind: Kind, field: str, other: Any) -> None:
    operation, misfits = kind.read({"details": {field: other}})

    assert json_format.MessageToDict(operation.details.unrecognized) == {field: other}
    assert misfits == [f"details.{field}"]
    operation.details.ClearField("unrecognized")
    assert operation == kind({"details": {}})


@pytest.mark.parametrize(
    ("details", "ids", "unrecognized"),
    [
        ({"acsTransId": "acs-1", "threeDSServerTransID": "server-1"}, ("acs-1", "server-1"), {}),
        ({"acsTransID": "acs-1", "threeDSServerTransId": "server-1"}, ("acs-1", "server-1"), {}),
        ({"acsTransactionId": "", "acsTransID": "acs-1"}, ("acs-1", ""), {}),
        (
            {"acsTransID": "acs-3", "acsTransId": "acs-2", "acsTransactionId": "acs-1"},
            ("acs-1", ""),
            {"acsTransId": "acs-2", "acsTransID": "acs-3"},
        ),
    ],
)
def test_an_id_is_read_under_each_of_its_names(
    details: dict[str, Any], ids: tuple[str, str], unrecognized: dict[str, Any]
) -> None:
    operation, misfits = THREE_DS.read({"details": details})

    read = operation.details
    assert (read.acs_trans_id, read.three_ds_server_trans_id) == ids
    assert json_format.MessageToDict(read.unrecognized) == unrecognized
    assert misfits == []


@each_kind
def test_a_state_is_told_by_what_d1_says_of_it_and_else_by_all_it_says(kind: Kind) -> None:
    unknown = [{"status": "HELD"}, {"status": "REVOKED"}, {"operation": "HELD"}, {"operation": "A", "status": "B"}]
    # Nothing says whether these are the same state, so they are if they are the same altogether.
    unclear: list[dict[str, Any]] = [{"status": None}, {"status": 1}, {"status": 2}, {"status": None, "error": "x"}]
    unclear += [{"operation": 1}, {"operation": 2}, {"operation": 2, "status": "SUCCESSFUL"}]

    assert {state_text(kind(changes)) for changes in ({}, {"status": "SUCCESSFUL"}, {"error": "another"})} == {""}
    states = [state_text(kind(changes)) for changes in (*unknown, *unclear)]
    assert len(set(states)) == len(states)
    assert [state_text(kind(changes)) for changes in (*unknown, *unclear)] == states
    assert state_text(kind({"status": "HELD", "error": "another"})) == states[0]


@each_kind
def test_empty_details_are_details_all_the_same(kind: Kind) -> None:
    assert kind({"details": {}}).HasField("details")


@each_kind
def test_unknown_fields_are_kept_where_they_stood(kind: Kind) -> None:
    operation = kind({"riskScore": 0.25, "details": {"merchant": {"name": "A shop", "mcc": None}}})

    assert json_format.MessageToDict(operation.unrecognized) == {"riskScore": 0.25}
    assert json_format.MessageToDict(operation.details.unrecognized) == {"merchant": {"name": "A shop", "mcc": None}}


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
        "0a1b2c3d", [1], [event.payload], 1, batch_encoding.watcher_fields(notification.WATCHER_ROLE_ACTIVE)
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
    operation = THREE_DS({**additions, **THREE_DS.full, "details": details, **changes})

    received = delivered(operation)

    assert received == operation
    assert json_format.Parse(json_format.MessageToJson(received), threeds.ThreeDSOperation()) == operation


@given(
    changes=st.dictionaries(st.sampled_from(list(CONSUMER.full)), json_values, max_size=3),
    additions=st.dictionaries(st.text(max_size=6), json_values, max_size=3),
)
def test_whatever_is_taken_of_a_consumers_operation_can_be_read(
    changes: dict[str, Any], additions: dict[str, Any]
) -> None:
    operation = CONSUMER({**additions, **CONSUMER.full, **changes})

    received = consumer.ConsumerOperation.FromString(operation.SerializeToString())

    assert received == operation
    assert json_format.Parse(json_format.MessageToJson(received), consumer.ConsumerOperation()) == operation
