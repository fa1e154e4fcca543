"""Requests of every rpc, with canaries in every private field and in all others."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import uuid4

from google.protobuf import struct_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from issuer.card.v1 import service_pb2 as card
from issuer.consumer.v1 import service_pb2 as consumer
from issuer.notification.v1 import service_pb2 as notification
from issuer.threeds.v1 import service_pb2 as threeds
from tests.contract.areqs import REQUESTOR, an_areq
from tests.e2e.canary_values import Canaries

__all__ = [
    "APP",
    "CARD",
    "CONSUMER",
    "LEAVING",
    "OPERATION",
    "CanaryCall",
    "backfill",
    "changes",
    "credentials",
    "endings",
    "lookup",
    "person",
    "poisoned",
    "reads",
    "suspension",
]

APP: Final = "app_1"
"""The app instance with the authenticator of the consumer to be deleted."""
CARD: Final = "card_1"
CONSUMER: Final = "consumer_1"
LEAVING: Final = "consumer_2"
"""The consumer to be deleted."""
OPERATION: Final = "operation_1"
_READER: Final = "reader"
_METHODS: Final[Mapping[str, MethodDescriptor]] = {
    method.name: method
    for file in (card, consumer, notification, threeds)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@dataclass(frozen=True, slots=True)
class CanaryCall:
    """A call to make."""

    rpc: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The fields of its request."""
    other: Mapping[str, Any] = field(default_factory=dict)
    """What a different request under the same request id has instead."""

    @property
    def method(self) -> MethodDescriptor:
        return _METHODS[self.rpc]

    def request(self) -> Any:
        return GetMessageClass(self.method.input_type)(**self.fields)

    def changed(self, **fields: Any) -> "CanaryCall":
        """Return the call with some fields replaced."""
        return replace(self, fields={**self.fields, **fields})


def changes(canaries: Canaries) -> list[CanaryCall]:
    """Return the calls with effects, with new request ids, in an order in which they succeed."""
    reason = {"reason": canaries["reason"]}
    other_reason, other_name = {"reason": canaries["first name"]}, {"name_on_card": canaries["cardholder name"]}
    account = {"is_default": True, "type": "CURRENT", "number": canaries["account number"], "currency_code": "EUR"}
    registration = {"consumer_id": CONSUMER, "card_product_id": "light", "name_on_card": canaries["name on card"]}
    creation = {"accounts": [account], "second_name_on_card": canaries["second name on card"]}
    renewed = {"credentials": credentials(canaries["PAN"], 2034)}
    replaced = {"new_card_id": "card_3", "credentials": credentials(canaries["new PAN"], 2034)}
    plain = {"credentials": credentials(canaries["PAN"], 2029)}
    encrypted = {"encrypted_data": canaries["JWE of a caller"]}
    calls = [
        CanaryCall(
            "RegisterConsumer",
            {"consumer_id": CONSUMER, "personal_information": person(canaries)},
            {"personal_information": {"first_name": canaries["last name"]}},
        ),
        CanaryCall("CreateCard", {"consumer_id": CONSUMER, "card_product_id": "full", **creation}, other_name),
        CanaryCall("RegisterCard", {"card_id": CARD, **plain, **registration}, other_name),
        CanaryCall("RegisterCard", {"card_id": "card_2", **encrypted, **registration}, other_name),
        CanaryCall("RenewCard", {"card_id": CARD, **renewed, **reason}),
        suspension(canaries),
        CanaryCall("ResumeCard", {"card_id": CARD, "reason_code": "USER_DECISION", **reason}),
        CanaryCall("ReplaceCard", {"card_id": CARD, "reason_code": "CARD_BROKEN", **replaced, **reason}),
        CanaryCall("DeleteCard", {"card_id": "card_2", "reason_code": "CLOSED_CARD", **reason}),
        CanaryCall("DeleteAuthenticator", {"app_instance_id": APP, **reason}),
        CanaryCall("DeleteConsumer", {"consumer_id": LEAVING, **reason}),
        CanaryCall("CompleteAuthentication", _denied("push_1", canaries), _denied("push_2", canaries)),
    ]
    return [replace(each.changed(request_id=str(uuid4())), other=each.other or other_reason) for each in calls]


def reads(canaries: Canaries) -> list[CanaryCall]:
    """Return the other calls, except `HandleCallbacks` and those below, in an order in which they have a response."""
    areq = an_areq(
        "2.2.0",
        canaries["PAN at the 3DS server"],
        REQUESTOR,
        three_ds_server_trans_id=str(uuid4()),
        cardholder_name=canaries["cardholder name"],
        email=canaries["e-mail"],
        acct_id=canaries["account number"],
        mobile_phone={"cc": "44", "subscriber": canaries["phone number"]},
        bill_addr_line1=canaries["address line 1"],
        bill_addr_line2=canaries["address line 2"],
        bill_addr_city=canaries["city"],
        bill_addr_post_code=canaries["zip code"],
        bill_addr_country="826",
    )
    return [
        CanaryCall("WatchNotifications", {"position": "START_POSITION_EARLIEST", "subscription": _READER}),
        CanaryCall("ListSubscriptions"),
        CanaryCall("GetSubscription", {"subscription": _READER}),
        CanaryCall("ListThreeDSOperations", {"card_id": CARD}),
        backfill(),
        CanaryCall("GetThreeDSOperation", {"card_id": CARD, "operation_id": OPERATION}),
        lookup(canaries),
        CanaryCall("Authenticate", {"areq": areq}),
    ]


def endings(cursor: str, transaction: str = "d461f105-1792-407f-95ff-9a496fd918a9") -> list[CanaryCall]:
    """Return the calls that end with the subscription that a watch has made, and that read how a challenge ended."""
    subscription = {"subscription": _READER}
    return [
        CanaryCall("CommitCursor", {"cursor": cursor, **subscription}),
        CanaryCall("GetSubscription", subscription),
        CanaryCall("ResetSubscription", {"position": "START_POSITION_EARLIEST", **subscription}),
        CanaryCall("DeleteSubscription", subscription),
        CanaryCall("GetChallengeResult", {"three_ds_server_trans_id": transaction}),
    ]


def lookup(canaries: Canaries) -> CanaryCall:
    """Return the call that tries the 3DS server's error texts."""
    return CanaryCall("LookupCard", {"acct_number": canaries["PAN at the 3DS server"]})


def backfill() -> CanaryCall:
    """Return the call that has D1's error texts in its messages."""
    return CanaryCall("BackfillNotifications", {"card_ids": [CARD], "since_time": Timestamp(seconds=1_700_000_000)})


def suspension(canaries: Canaries) -> CanaryCall:
    """Return the call that tries D1's error texts."""
    reason = {"reason": canaries["reason"], "reason_code": "USER_DECISION"}
    return CanaryCall("SuspendCard", {"card_id": CARD, "request_id": str(uuid4()), **reason})


def _denied(authentication_id: str, canaries: Canaries) -> Mapping[str, Any]:
    denial = {"status": "AUTHENTICATION_STATUS_FAILED", "error": canaries["error of a result"]}
    return {"consumer_id": CONSUMER, "result": {"authentication_id": authentication_id, **denial}}


def person(canaries: Canaries) -> Any:
    """Return the fields of personal data, canaries only."""
    return {
        **{name: canaries[name.replace("_", " ")] for name in ("title", "first_name", "middle_name", "last_name")},
        "date_of_birth": canaries["date of birth"],
        "email": canaries["e-mail"],
        "language": "en-GB",
        "mobile_phone_number": {"country_code": "+44", "phone_number": canaries["phone number"]},
        "residency_address": {
            "line1": canaries["address line 1"],
            "line2": canaries["address line 2"],
            "city": canaries["city"],
            "state": canaries["state"],
            "zip_code": canaries["zip code"],
            "country_code": "GB",
        },
    }


def credentials(pan: str, year: int) -> Any:
    return {"pan": pan, "expiry": {"month": 11, "year": year}}


def poisoned(message: Any, text: str, depth: int = 4) -> Any:
    """Put a text into every string field of a message, nested ones included; return the message."""
    if isinstance(message, struct_pb2.Struct):
        message.update({text[:64]: text})
        return message
    for each in message.DESCRIPTOR.fields:
        if each.type == FieldDescriptor.TYPE_STRING:
            message.ClearField(each.name)
            message.MergeFrom(type(message)(**{each.name: [text] if each.is_repeated else text}))
        elif each.message_type is not None and depth and not each.message_type.full_name.endswith("protobuf.Value"):
            held = getattr(message, each.name)
            poisoned(held.add() if each.is_repeated else held, text, depth - 1)
    return message
