"""What of D1's API this adapter relies on: every path and every property name, each in one line.

D1's full specification goes to its customers only. What is not confirmed by its public documentation is marked as
assumed, so that whoever has the specification knows where to look, and corrects one line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2

__all__ = [
    "ASSUMED_FIELDS",
    "CREATE_CARD",
    "DELETE_CARD",
    "FIELDS",
    "REGISTER_CARD",
    "RENEW_CARD",
    "REPLACE_CARD",
    "RESUME_CARD",
    "SUSPEND_CARD",
    "TOKEN",
    "Endpoint",
]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call of D1's API."""

    method: str
    template: str
    """The path, with ``{issuer_id}`` and ``{card_id}`` where the ids stand. Its colons stay colons on the wire."""
    success_status: int
    """The status D1 is expected to answer; the adapter takes any 2xx as success."""
    assumed: tuple[str, ...] = ()
    """What of this line is not confirmed: ``colon`` (its spelling in the path), ``status``, ``request``, ``answer``."""

    def path(self, **ids: str) -> str:
        """Fill in the ids, percent-encoded, so that no id changes the path.

        Raises:
            GatewayError: INVALID_REQUEST for an id that no encoding keeps in its place (RFC 3986 section 6.2.2.3).
        """
        for name, value in ids.items():
            if value in ("", ".", ".."):
                raise GatewayError(
                    error_pb2.ERROR_REASON_INVALID_REQUEST,
                    f"{name} cannot stand in a path.",
                    outcome=error_pb2.OUTCOME_NOT_SENT,
                )
        return self.template.format_map({name: quote(value, safe="") for name, value in ids.items()})


_CARDS = "/banking/v2/issuers/{issuer_id}/cards"
_CARD = _CARDS + "/{card_id}"

TOKEN: Final = Endpoint("POST", "/authz/v1/oauth2/token", 200)
CREATE_CARD: Final = Endpoint("POST", _CARDS, 201, assumed=("status", "answer"))
REGISTER_CARD: Final = Endpoint("PUT", _CARD, 204, assumed=("status",))
RENEW_CARD: Final = Endpoint("POST", _CARD + "/operations:renew", 204, assumed=("colon", "status", "request"))
REPLACE_CARD: Final = Endpoint("POST", _CARD + "/operations:replace", 204, assumed=("colon", "status", "request"))
DELETE_CARD: Final = Endpoint("POST", _CARD + "/operations:delete", 204, assumed=("colon", "status", "request"))
SUSPEND_CARD: Final = Endpoint("POST", _CARD + "/operations:suspend", 204, assumed=("colon", "status", "request"))
RESUME_CARD: Final = Endpoint("POST", _CARD + "/operations:resume", 204, assumed=("colon", "status", "request"))

FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "consumer_id": "consumerId",
        "card_product_id": "cardProductId",
        "state": "state",
        "encrypted_data": "encryptedData",
        "default": "default",
        "number": "number",
        "currency_code": "currencyCode",
        "accounts": "accounts",
        "type": "type",
        "name_on_card": "nameOnCard",
        "second_name_on_card": "secondNameOnCard",
        "card_id": "cardId",
        "new_card_id": "newCardId",
        "reason": "reason",
        "reason_code": "reasonCode",
    }
)
"""The properties of the bodies: their names in the gateway's contract, and D1's names for them."""

ASSUMED_FIELDS: Final = frozenset(
    {"accounts", "type", "name_on_card", "second_name_on_card", "card_id", "new_card_id", "reason", "reason_code"}
)
"""The keys of `FIELDS` whose D1 name is not confirmed.

D1's older API (v1) does use ``reason`` and ``reasonCode``, and ``cardId`` is D1's word wherever a card's id was seen;
that the bodies of these calls carry them too is the assumption.
"""
