"""The measured calls, as gRPC and as JSON over HTTP/1.1."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from google.protobuf.message import Message

from adapters.threeds.codec import decode
from bench.common.threeds_messages import AREQ
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import card_data_pb2
from issuer.threeds.v1 import areq_pb2
from issuer.threeds.v1 import messages_pb2 as threeds

__all__ = ["AUTHENTICATE", "CALLS", "Call"]


@dataclass(frozen=True, slots=True)
class Call:
    """One rpc with its request."""

    name: str
    rpc: str
    """The path of its gRPC method."""
    request: Message = field(repr=False)
    reply: type[Message]
    json: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The path for a server that takes JSON."""

    @property
    def frame(self) -> bytes:
        """The message with its prefix (gRPC over HTTP/2: Length-Prefixed-Message)."""
        message = self.request.SerializeToString()
        return struct.pack(">BI", 0, len(message)) + message

    @property
    def json_body(self) -> bytes:
        """The JSON body."""
        return orjson.dumps(self.json)


_REGISTER: Final = card.RegisterCardRequest(
    card_id="card_0001",
    consumer_id="consumer_0001",
    card_product_id="product_1",
    state=card.INITIAL_CARD_STATE_ACTIVE,
    credentials=card_data_pb2.CardCredentials(
        pan="4970101234567890", expiry=card_data_pb2.CardExpiry(month=12, year=2030)
    ),
)
_SUSPEND: Final = card.SuspendCardRequest(card_id="card_0001", reason_code="FRAUD")

CALLS: Final = (
    Call(
        "RegisterCard",
        "/issuer.card.v1.CardService/RegisterCard",
        _REGISTER,
        card.RegisterCardResponse,
        {
            "card_id": "card_0001",
            "consumer_id": "consumer_0001",
            "card_product_id": "product_1",
            "state": "ACTIVE",
            "credentials": {"pan": "4970101234567890", "expiry": {"month": 12, "year": 2030}},
        },
    ),
    Call(
        "SuspendCard",
        "/issuer.card.v1.CardService/SuspendCard",
        _SUSPEND,
        card.SuspendCardResponse,
        {"card_id": "card_0001", "reason_code": "FRAUD"},
    ),
)
"""A call for which the gateway encrypts card data, and one without card data."""

AUTHENTICATE: Final = Call(
    "Authenticate",
    "/issuer.threeds.v1.AuthenticationService/Authenticate",
    threeds.AuthenticateRequest(areq=decode(areq_pb2.AReq, AREQ)),
    threeds.AuthenticateResponse,
)
"""A full AReq of 2.2.0 in the browser channel, whose ARes has a challenge."""
