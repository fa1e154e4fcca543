"""What a caller reads about a field that breaks an annotation of the contract."""

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message

from gateway.formats.patterns import in_words
from gateway.grpc_api import server  # noqa: F401  Registers every contract.
from gateway.validation.annotations import field_rules
from gateway.validation.validator import Validation
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import card_data_pb2
from issuer.consumer.v1 import authentication_pb2
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1 import personal_information_pb2 as personal
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import areq_pb2
from issuer.threeds.v1 import messages_pb2 as threeds

VALIDATION = Validation()
WORD = "1 character of A-Z, then at most 63 characters of A-Z 0-9 _"
ID = "1 to 48 characters of A-Z a-z 0-9 _ -"
KINDS = (
    "CALLBACK_KIND_CONSUMER_INFORMATION, CALLBACK_KIND_DELIVER_OTP, CALLBACK_KIND_AUTHENTICATE, "
    "CALLBACK_KIND_AUTHENTICATION_RESULT, CALLBACK_KIND_CARD_CREDENTIALS"
)


def described(message: Message) -> dict[str, str]:
    """Return the description of each invalid field."""
    violations, _ = VALIDATION.violations(message)
    return {violation.field: violation.description for violation in violations}


def registered(**fields: object) -> callback.HandleCallbacksRequest:
    return callback.HandleCallbacksRequest(registration=callback.HandlerRegistration(**fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (
            card.SuspendCardRequest(),
            {"card_id": f"is required: {ID}", "reason_code": f"is required: {WORD}"},
        ),
        (
            card.RegisterCardRequest(card_id="c", consumer_id="c", card_product_id="p"),
            {"card_data": "is required: one of credentials, encrypted_data"},
        ),
        (card_data_pb2.CardCredentials(pan="4970101234567890"), {"expiry": "is required"}),
        (
            areq_pb2.AReq(three_ds_requestor_url="https://bank.example"),
            {
                "message_version": "is required: one of MESSAGE_VERSION_2_1_0, MESSAGE_VERSION_2_2_0, "
                "MESSAGE_VERSION_2_3_1",
                "acct_number": "is required: 13 to 19 digits",
            },
        ),
        (card_data_pb2.CardExpiry(month=1), {"year": "is required: 2000 to 2099"}),
        (card.CardAccount(currency_code="978"), {"number": "is required: at least 1 character"}),
        (threeds.GetChallengeResultRequest(), {"three_ds_server_trans_id": "is required: a UUID"}),
        (
            consumer.CompleteAuthenticationRequest(),
            {"result": "is required", "consumer_id": "is required: 1 to 64 characters of A-Z a-z 0-9 _ -"},
        ),
        (
            authentication_pb2.AuthenticationResult(authentication_id="a"),
            {"status": "is required: one of AUTHENTICATION_STATUS_SUCCESSFUL, AUTHENTICATION_STATUS_FAILED"},
        ),
        (registered(name="h"), {"registration.callback_kinds": f"is required: at least 1 of {KINDS}"}),
        (
            replies_pb2.CallbackRefusal(),
            {
                "reason": "is required: one of CALLBACK_REFUSAL_REASON_INVALID, CALLBACK_REFUSAL_REASON_NOT_ALLOWED, "
                "CALLBACK_REFUSAL_REASON_NOT_FOUND, CALLBACK_REFUSAL_REASON_FAILED"
            },
        ),
    ],
)
def test_what_is_missing_is_required_and_what_to_send_is_named(message: Message, found: dict[str, str]) -> None:
    assert described(message) == found


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (
            card.SuspendCardRequest(card_id="a b", reason_code="fraud", user_id="x" * 16, request_id="1"),
            {
                "card_id": f"must be {ID}",
                "reason_code": f"must be {WORD}",
                "user_id": "must be 1 to 15 characters of A-Z a-z 0-9 _ -",
                "request_id": "must be a UUID",
            },
        ),
        (
            card.CreateCardRequest(
                issuer_id="SHORT",
                consumer_id="c",
                card_product_id="p",
                state=9,  # type: ignore[arg-type]
                name_on_card="1",
                accounts=[card.CardAccount(number="1" * 65, currency_code="eur")],
            ),
            {
                "issuer_id": "must be exactly 10 characters",
                "state": "must be one of INITIAL_CARD_STATE_ACTIVE, INITIAL_CARD_STATE_INACTIVE",
                "name_on_card": "must be at most 26 characters of a-z A-Z . space -",
                "accounts[0].number": "must be at most 64 characters",
                "accounts[0].currency_code": "must be 3 characters of A-Z, or 3 digits",
            },
        ),
        (card_data_pb2.CardExpiry(month=13, year=2030), {"month": "must be 1 to 12"}),
        (
            registered(name="h", callback_kinds=[0, 99], issuer_ids=[""], max_in_flight=1001),
            {
                "registration.callback_kinds[0]": f"must be one of {KINDS}",
                "registration.callback_kinds[1]": f"must be one of {KINDS}",
                "registration.issuer_ids[0]": "must not be empty: exactly 10 characters",
                "registration.max_in_flight": "must be at most 1000",
            },
        ),
        (
            notification.WatchNotificationsRequest(after_cursor=""),
            {"after_cursor": "must not be empty: at least 1 character"},
        ),
        (
            notification.ThreeDSOperationFilter(statuses=[9]),  # type: ignore[list-item]
            {
                "statuses[0]": "must be one of THREE_DS_OPERATION_STATUS_UNSPECIFIED, "
                "THREE_DS_OPERATION_STATUS_SUCCESSFUL, THREE_DS_OPERATION_STATUS_FAILED"
            },
        ),
        (
            threeds.LookupCardRequest(acct_number="1" * 13, ds="diners", three_ds_method_notification_url="no url"),
            {
                "ds": "must be one of standin, visa, mastercard, jcb, upi, amex, protectbuy, sbn",
                "three_ds_method_notification_url": "must be a URI with its scheme",
            },
        ),
        (
            personal.PersonalInformation(email="nowhere", language="english"),
            {
                "email": "must be an e-mail address",
                "language": "must be 2 characters of a-z, then -, then 2 characters of a-z A-Z",
            },
        ),
        (
            consumer.CompleteAuthenticationRequest(
                consumer_id="c",
                result=authentication_pb2.AuthenticationResult(
                    authentication_id="a", status=authentication_pb2.AUTHENTICATION_STATUS_PENDING
                ),
            ),
            {"result.status": "must be one of AUTHENTICATION_STATUS_SUCCESSFUL, AUTHENTICATION_STATUS_FAILED"},
        ),
    ],
)
def test_what_is_wrong_is_described_by_what_it_must_be(message: Message, found: dict[str, str]) -> None:
    assert described(message) == found


def patterns_within(message: Descriptor, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Yield the name and pattern of each field that the annotations of a request check."""
    if message.full_name not in seen and message is not areq_pb2.AReq.DESCRIPTOR:  # whose rules are tables
        seen.add(message.full_name)
        for field in message.fields:
            rules = field_rules(field)
            yield from (
                (field.full_name, text.pattern) for text in (rules.string, rules.repeated.items.string) if text.pattern
            )
            if field.message_type is not None:
                yield from patterns_within(field.message_type, seen)


def test_no_caller_has_to_read_a_regular_expression() -> None:
    seen: set[str] = set()
    found = [
        each
        for area in ("callback", "card", "consumer", "notification", "threeds")
        for service in Default().FindFileByName(f"issuer/{area}/v1/service.proto").services_by_name.values()
        for rpc in service.methods
        for each in patterns_within(rpc.input_type, seen)
    ]
    assert len(found) > 50
    assert [(name, pattern) for name, pattern in found if pattern in in_words(pattern)] == []
