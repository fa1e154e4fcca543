"""D1's inbound API: every path and property name that this adapter relies on, one per line.

D1 gives its full specification to customers only. Facts that its public documentation does not confirm are marked as
assumed, and listed in docs/d1-assumptions.md; each is corrected in one line.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final
from urllib.parse import quote

from google.protobuf.message import Message

from adapters.d1.assumptions import Assumption
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2

__all__ = [
    "ASSUMED_FIELDS",
    "CREATE_CARD",
    "DEFAULT_REASON_CODE",
    "DELETE_CARD",
    "DELETE_CONSUMER",
    "DELETE_CREDENTIALS",
    "FIELDS",
    "GET_OPERATION",
    "LIMIT",
    "LIST_OPERATIONS",
    "OFFSET",
    "PARTS",
    "REGISTER_CARD",
    "REGISTER_CONSUMER",
    "RENEW_CARD",
    "REPLACE_CARD",
    "RESUME_CARD",
    "SUSPEND_CARD",
    "TOKEN",
    "USER_HEADER",
    "Endpoint",
    "body",
    "nested",
    "token_form",
    "word",
]

_IDEMPOTENT_METHODS: Final = frozenset({"GET", "PUT"})
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]+")
"""RFC 3986 section 2.3."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call of D1's API."""

    method: str
    template: str
    """Path, with placeholders such as ``{issuer_id}``. Its colons are sent unencoded."""
    success_status: int
    """Status that D1 is expected to respond with; the adapter accepts any 2xx."""
    assumed: tuple[str, ...] = ()
    """Unconfirmed parts, as in `PARTS`."""

    @property
    def idempotent(self) -> bool:
        """Whether repeating the request changes nothing more (RFC 9110 section 9.2.2)."""
        return self.method in _IDEMPOTENT_METHODS

    def path(self, **ids: str) -> str:
        """Insert percent-encoded ids, so that no id changes the path.

        Raises:
            GatewayError: INVALID_REQUEST for an id that encoding cannot protect (RFC 3986 section 6.2.2.3).
        """
        for name, value in ids.items():
            if value in ("", ".", ".."):
                raise GatewayError(
                    error_pb2.ERROR_REASON_INVALID_REQUEST,
                    f"{name} cannot be part of a path.",
                    outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
                )
        return self.template.format_map({name: _quoted(value) for name, value in ids.items()})


def _quoted(value: str) -> str:
    # Nearly all ids need no encoding, and finding that out takes less time than `quote`.
    return value if _UNRESERVED.fullmatch(value) else quote(value, safe="")


# D1 runs two versions side by side; calls that have not moved to v2 go to v1.
_V1 = "/banking/v1/issuers/{issuer_id}"
_V2 = "/banking/v2/issuers/{issuer_id}"
_CARDS = _V2 + "/cards"
_CARD = _CARDS + "/{card_id}"
_OPERATIONS = _V1 + "/cards/{card_id}/3ds/operations"
_AUTHENTICATOR = _V1 + "/appinstances/{app_instance_id}/authncredentials"

TOKEN: Final = Endpoint("POST", "/authz/v1/oauth2/token", 200)
CREATE_CARD: Final = Endpoint("POST", _CARDS, 201, assumed=("status", "response"))
REGISTER_CARD: Final = Endpoint("PUT", _CARD, 204, assumed=("status",))
RENEW_CARD: Final = Endpoint(
    "POST", _CARD + "/operations:renew", 204, assumed=("colon", "status", "request", "response")
)
REPLACE_CARD: Final = Endpoint(
    "POST", _CARD + "/operations:replace", 204, assumed=("colon", "status", "request", "response")
)
DELETE_CARD: Final = Endpoint("POST", _CARD + "/operations:delete", 204, assumed=("colon", "status", "request"))
SUSPEND_CARD: Final = Endpoint("POST", _CARD + "/operations:suspend", 204, assumed=("colon", "status", "request"))
RESUME_CARD: Final = Endpoint("POST", _CARD + "/operations:resume", 204, assumed=("colon", "status", "request"))

LIST_OPERATIONS: Final = Endpoint("GET", _OPERATIONS, 200)
GET_OPERATION: Final = Endpoint("GET", _OPERATIONS + "/{operation_id}", 200)

DELETE_CREDENTIALS: Final = Endpoint(
    "POST", _AUTHENTICATOR + "/operations:delete", 204, assumed=("colon", "status", "request")
)
REGISTER_CONSUMER: Final = Endpoint("PUT", _V2 + "/consumers/{consumer_id}", 204, assumed=("status",))
DELETE_CONSUMER: Final = Endpoint("POST", _V1 + "/consumers/{consumer_id}/operations:delete", 204, assumed=("status",))

USER_HEADER: Final = "x-user-id"
"""Header of calls at v2: the user on whose behalf the call is made."""

PARTS: Final[Mapping[str, Assumption]] = MappingProxyType(
    {
        "colon": Assumption(
            what="a colon before the verb",
            basis="paths of v1, which D1 shows with their colon; of this one it shows a link, which has a dash",
            if_wrong="D1 answers 404, and the caller gets UPSTREAM_NOT_FOUND. Nothing is changed.",
        ),
        "status": Assumption(
            what="the status of success",
            basis="calls of v1 that D1 shows with their status; of this one it says only that it succeeds",
            if_wrong="Nothing: any 2xx is a success.",
        ),
        "request": Assumption(
            what="the form of the request",
            basis="the request of v1, and what D1's guides say of this one",
            if_wrong="D1 answers 400, and the caller gets UPSTREAM_INVALID. Nothing is changed.",
        ),
        "response": Assumption(
            what="the card's id in the response",
            basis="that the caller has to learn it, and D1's SDK, which returns it",
            if_wrong="The id is unrecognized. Create fails with UPSTREAM_CONTRACT, although the card exists.",
        ),
    }
)
"""The parts of a call that can be assumed."""

OFFSET: Final = "offset"
"""Query parameter of `LIST_OPERATIONS`: number of newest operations to skip."""
LIMIT: Final = "limit"
"""Query parameter of `LIST_OPERATIONS`: maximum number of operations to list, 1 to 50."""

DEFAULT_REASON_CODE: Annotated[
    str,
    Assumption(
        what="a renewal takes this reason code",
        basis="the default of v1; of a renewal's codes D1 shows none",
        if_wrong="D1 answers 403 to renewals without a code of the caller, who gets UPSTREAM_FORBIDDEN.",
    ),
] = "ISSUER_DECISION"
"""Sent where the caller gives no reason code: D1 wants one with every change."""

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
        "operations": "operations",
        "remaining_operation_count": "remainingOperations",
        "personal_information": "personalInformation",
        "language": "language",
        "first_name": "firstName",
        "middle_name": "middleName",
        "last_name": "lastName",
        "title": "title",
        "date_of_birth": "dateOfBirth",
        "email": "email",
        "mobile_phone_number": "mobilePhoneNumber",
        "country_code": "countryCode",
        "phone_number": "phoneNumber",
        "residency_address": "residencyAddress",
        "line1": "line1",
        "line2": "line2",
        "city": "city",
        "zip_code": "zipCode",
    }
)
"""Property names in request bodies: the name in the gateway's contract, and D1's name for it.

Those of a 3DS operation, which also occurs in callbacks, are in `adapters.d1.callbacks.operations`.
"""

_UNNAMED: Final = Assumption(
    basis="the property's meaning and form, which D1 shows without its name",
    if_wrong="D1 answers 400 where the caller sets it, who gets UPSTREAM_INVALID. Nothing is changed.",
)
_NAMED_ELSEWHERE: Final = Assumption(
    basis="the name in v1, or elsewhere in v2",
    if_wrong="As with the form of a request: D1 answers 400 where it is sent. In a response, it is unrecognized.",
)
ASSUMED_FIELDS: Final[Mapping[str, Assumption]] = MappingProxyType(
    {
        "accounts": _UNNAMED,
        "type": _UNNAMED,
        "name_on_card": _UNNAMED,
        "second_name_on_card": _UNNAMED,
        "new_card_id": _UNNAMED,
        "card_id": _NAMED_ELSEWHERE,
        "reason": _NAMED_ELSEWHERE,
        "reason_code": _NAMED_ELSEWHERE,
    }
)
"""Keys of `FIELDS` whose D1 name is unconfirmed at v2. Calls at v1 take ``reason`` and ``reasonCode`` as D1 shows."""


def body(**properties: Any) -> dict[str, Any]:
    """Return a request body with D1's property names, without what is None or empty.

    D1 refuses empty texts and objects.
    """
    return {FIELDS[name]: value for name, value in properties.items() if value not in (None, "", [], {})}


def nested(message: Message) -> dict[str, Any]:
    """Return the set fields of a message of texts and messages, with D1's property names, as `body` does."""
    return body(
        **{field.name: nested(value) if isinstance(value, Message) else value for field, value in message.ListFields()}
    )


def token_form(assertion: str) -> Mapping[str, str]:
    """Return the form that is posted for an access token (RFC 7523 section 2.1)."""
    return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}


def word(name: str, prefix: str) -> str:
    """Return D1's word for an enum value: its name without the prefix; empty for the unspecified value."""
    found = name.removeprefix(prefix)
    return "" if found == "UNSPECIFIED" else found
