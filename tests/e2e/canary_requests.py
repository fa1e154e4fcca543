"""Requests of every rpc, with canaries in every private field and in all others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from google.protobuf import struct_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.common.v1 import card_data_pb2
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1 import personal_information_pb2 as personal
from issuer.consumer.v1.service_pb2_grpc import ConsumerServiceStub
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from issuer.threeds.v1 import areq_pb2, history_pb2, objects_pb2
from issuer.threeds.v1 import messages_pb2 as threeds
from issuer.threeds.v1.service_pb2_grpc import AuthenticationServiceStub, OperationServiceStub
from tests.contract.areqs import REQUESTOR, an_areq
from tests.e2e.canary_values import Canaries

__all__ = [
    "APP",
    "CARD",
    "CONSUMER",
    "LEAVING",
    "OPERATION",
    "CanaryCall",
    "Requests",
    "changed",
    "details",
    "person",
    "poisoned",
]

APP: Final = "app_1"
"""The app instance with the authenticator of the consumer to be deleted."""
CARD: Final = "card_1"
CONSUMER: Final = "consumer_1"
LEAVING: Final = "consumer_2"
"""The consumer to be deleted."""
OPERATION: Final = "operation_1"
_DEEPEST: Final = 4


@dataclass(frozen=True, slots=True)
class CanaryCall:
    """A call to make."""

    stub: Any
    """The service's stub class."""
    rpc: str
    request: Any


class Requests:
    """Requests with fresh request ids."""

    def __init__(self, canaries: Canaries) -> None:
        self._canaries = canaries

    def changes(self) -> list[CanaryCall]:
        """Return the calls with effects, in an order in which they succeed."""
        calls = [*self._consumer_changes()[:1], *self._card_changes(), *self._consumer_changes()[1:]]
        return [CanaryCall(each.stub, each.rpc, changed(each.request, request_id=str(uuid4()))) for each in calls]

    def reads(self) -> list[CanaryCall]:
        """Return the other calls except `HandleCallbacks`, in an order in which they have a response."""
        return [
            *(CanaryCall(NotificationServiceStub, rpc, request) for rpc, request in _notifications().items()),
            CanaryCall(OperationServiceStub, "ListOperations", history_pb2.ListOperationsRequest(card_id=CARD)),
            CanaryCall(
                OperationServiceStub,
                "GetOperation",
                history_pb2.GetOperationRequest(card_id=CARD, operation_id=OPERATION),
            ),
            CanaryCall(AuthenticationServiceStub, "LookupCard", self.lookup()),
            CanaryCall(AuthenticationServiceStub, "Authenticate", threeds.AuthenticateRequest(areq=self._areq())),
        ]

    def lookup(self) -> threeds.LookupCardRequest:
        """Look up a card at the 3DS server."""
        return threeds.LookupCardRequest(acct_number=self._canaries["PAN at the 3DS server"])

    def suspension(self) -> card.SuspendCardRequest:
        """Suspend a card at D1."""
        return card.SuspendCardRequest(
            request_id=str(uuid4()),
            card_id=CARD,
            reason=self._canaries["reason"],
            reason_code=card.SUSPEND_REASON_USER_DECISION,
        )

    def other(self, request: Message) -> Any:
        """Return a request with different content under the same request id."""
        match request:
            case consumer.RegisterConsumerRequest():
                name = self._canaries["last name"]
                return changed(request, personal_information=personal.PersonalInformation(first_name=name))
            case consumer.CompleteAuthenticationRequest():
                return changed(request, result=_denial(self._canaries["error of a result"], "push_2"))
            case card.CreateCardRequest() | card.RegisterCardRequest():
                return changed(request, name_on_card=self._canaries["cardholder name"])
            case _:
                return changed(request, reason=self._canaries["first name"])

    def _consumer_changes(self) -> list[CanaryCall]:
        reason = self._canaries["reason"]
        requests = {
            "RegisterConsumer": consumer.RegisterConsumerRequest(
                consumer_id=CONSUMER, personal_information=person(self._canaries)
            ),
            "DeleteCredentials": consumer.DeleteCredentialsRequest(app_instance_id=APP, reason=reason),
            "DeleteConsumer": consumer.DeleteConsumerRequest(consumer_id=LEAVING, reason=reason),
            "CompleteAuthentication": consumer.CompleteAuthenticationRequest(
                result=_denial(self._canaries["error of a result"])
            ),
        }
        return [CanaryCall(ConsumerServiceStub, rpc, request) for rpc, request in requests.items()]

    def _card_changes(self) -> list[CanaryCall]:
        canaries, reason = self._canaries, self._canaries["reason"]
        account = card.Account(default=True, type="CURRENT", number=canaries["account number"], currency_code="EUR")
        name, second_name = canaries["name on card"], canaries["second name on card"]
        registration = card.RegisterCardRequest(
            card_id=CARD, consumer_id=CONSUMER, card_product_id="light", name_on_card=name
        )
        by_caller = changed(registration, card_id="card_2", encrypted_data=canaries["JWE of a caller"])
        calls: list[tuple[str, Any]] = [
            (
                "CreateCard",
                card.CreateCardRequest(
                    consumer_id=CONSUMER, card_product_id="full", accounts=[account], second_name_on_card=second_name
                ),
            ),
            ("RegisterCard", changed(registration, credentials=_credentials(canaries["PAN"], 2029))),
            ("RegisterCard", by_caller),
            (
                "RenewCard",
                card.RenewCardRequest(card_id=CARD, reason=reason, credentials=_credentials(canaries["PAN"], 2034)),
            ),
            ("SuspendCard", self.suspension()),
            (
                "ResumeCard",
                card.ResumeCardRequest(card_id=CARD, reason=reason, reason_code=card.RESUME_REASON_USER_DECISION),
            ),
            (
                "ReplaceCard",
                card.ReplaceCardRequest(
                    card_id=CARD,
                    new_card_id="card_3",
                    reason=reason,
                    reason_code="CARD_BROKEN",
                    credentials=_credentials(canaries["new PAN"], 2034),
                ),
            ),
            ("DeleteCard", card.DeleteCardRequest(card_id="card_2", reason=reason, reason_code="CLOSED_CARD")),
        ]
        return [CanaryCall(CardServiceStub, rpc, request) for rpc, request in calls]

    def _areq(self) -> areq_pb2.AReq:
        canaries = self._canaries
        return an_areq(
            "2.2.0",
            canaries["PAN at the 3DS server"],
            REQUESTOR,
            three_ds_server_trans_id=str(uuid4()),
            cardholder_name=canaries["cardholder name"],
            email=canaries["e-mail"],
            acct_id=canaries["account number"],
            mobile_phone=objects_pb2.PhoneNumber(cc="44", subscriber=canaries["phone number"]),
            bill_addr_line1=canaries["address line 1"],
            bill_addr_line2=canaries["address line 2"],
            bill_addr_city=canaries["city"],
            bill_addr_post_code=canaries["zip code"],
            bill_addr_country="826",
        )


def person(canaries: Canaries) -> personal.PersonalInformation:
    """Return personal data of canaries only."""
    return personal.PersonalInformation(
        language="en-GB",
        title=canaries["title"],
        first_name=canaries["first name"],
        middle_name=canaries["middle name"],
        last_name=canaries["last name"],
        date_of_birth=canaries["date of birth"],
        email=canaries["e-mail"],
        mobile_phone_number=personal.PhoneNumber(country_code="+44", phone_number=canaries["phone number"]),
        residency_address=personal.Address(
            line1=canaries["address line 1"],
            line2=canaries["address line 2"],
            city=canaries["city"],
            state=canaries["state"],
            zip_code=canaries["zip code"],
            country_code="GB",
        ),
    )


def details(canaries: Canaries) -> "card_data_pb2.CardCredentials":
    """Return the card data that a handler knows."""
    return _credentials(canaries["PAN of a handler"], 2031)


def changed(request: Message, **fields: Any) -> Any:
    """Copy a request with some fields replaced."""
    copy = type(request)()
    copy.CopyFrom(request)
    for name in fields:
        copy.ClearField(name)
    copy.MergeFrom(type(request)(**fields))
    return copy


def poisoned(request: Message, text: str) -> Any:
    """Copy a request with a text in every string field, nested ones included."""
    copy = type(request)()
    copy.CopyFrom(request)
    _poison(copy, text, _DEEPEST)
    return copy


def _poison(message: Message, text: str, depth: int) -> None:
    if isinstance(message, struct_pb2.Struct):
        message.update({text[:64]: text})
        return
    fields: Sequence[Any] = message.DESCRIPTOR.fields
    for field in fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            message.ClearField(field.name)
            message.MergeFrom(type(message)(**{field.name: [text] if field.is_repeated else text}))
        elif field.message_type is not None and depth and not field.message_type.full_name.endswith("protobuf.Value"):
            held = getattr(message, field.name)
            _poison(held.add() if field.is_repeated else held, text, depth - 1)


def _notifications() -> dict[str, Any]:
    return {
        "WatchNotifications": notification.WatchNotificationsRequest(
            position=notification.START_POSITION_EARLIEST, subscription="reader"
        ),
        "ListSubscriptions": notification.ListSubscriptionsRequest(),
        "GetSubscription": notification.GetSubscriptionRequest(subscription="reader"),
    }


def _denial(error: str, authentication_id: str = "push_1") -> authentication.AuthenticationResult:
    return authentication.AuthenticationResult(
        authentication_id=authentication_id, status=authentication.AUTHENTICATION_STATUS_FAILED, error=error
    )


def _credentials(pan: str, year: int) -> card_data_pb2.CardCredentials:
    return card_data_pb2.CardCredentials(pan=pan, expiry=card_data_pb2.CardExpiry(month=11, year=year))
