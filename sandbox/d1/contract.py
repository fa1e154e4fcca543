"""The words, patterns and numbers of D1's card API, and what is only assumed of them.

The public documentation shows paths, field names, patterns and rules. What it does not show is gathered under
"Assumed" below, so that a correction is one line.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "CARDS_PATH",
    "CARD_ID",
    "CARD_PATH",
    "CARD_PRODUCT_ID",
    "CONSUMER_ID",
    "CORRELATION_ID",
    "CURRENCY_CODE",
    "ENCRYPTED_DATA",
    "EXPIRY",
    "GRANT_TYPE",
    "ISSUER_ID",
    "NAME_ON_CARD",
    "OPERATIONS",
    "OPERATION_ID",
    "PAN",
    "REASON",
    "REASON_CODE",
    "STATUS_ASSERTION_REFUSED",
    "STATUS_CARD_CREATED",
    "STATUS_CARD_DONE",
    "STATUS_NOT_REUSABLE",
    "TOKEN_LIFETIME_SECONDS",
    "TOKEN_PATH",
    "USER_ID",
    "CardProduct",
    "CardState",
    "InitialState",
    "Operation",
    "ResumeReason",
    "SuspendReason",
]

TOKEN_PATH = "/authz/v1/oauth2/token"  # noqa: S105 - a path
CARDS_PATH = "/banking/v2/issuers/{issuerId}/cards"
CARD_PATH = CARDS_PATH + "/{cardId}"

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
"""RFC 7523, section 2.1."""
TOKEN_LIFETIME_SECONDS = 900
"""How long a token lives, and how far ahead an assertion may expire."""

ISSUER_ID = re.compile(r"[^/]{10}")
CARD_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")
CONSUMER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
CARD_PRODUCT_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")
OPERATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
CORRELATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
USER_ID = re.compile(r"[A-Za-z0-9_-]{1,15}")
NAME_ON_CARD = re.compile(r"[a-zA-Z. -]{0,26}")
ENCRYPTED_DATA = re.compile(r"(?=.{1,8192}\Z)[A-Za-z0-9_-]+\.(\.[A-Za-z0-9_-]+){3}")
"""A compact JWE with direct key agreement: its second part is empty."""
PAN = re.compile(r"[0-9]{10,19}")
EXPIRY = re.compile(r"(0[1-9]|1[0-2])[0-9]{2}")
"""MMYY."""


class Operation(StrEnum):
    """The calls that the simulator answers, named as in D1's specification; faults are asked for by these names."""

    GET_TOKEN = "getToken"  # noqa: S105 - the name of a call
    CREATE_CARD = "createCard"
    REGISTER_CARD = "registerCard"
    RENEW_CARD = "renewCard"
    REPLACE_CARD = "replaceCard"
    DELETE_CARD = "deleteCard"
    SUSPEND_CARD = "suspendCard"
    RESUME_CARD = "resumeCard"


class CardState(StrEnum):
    """Where a card stands in its life."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    SUSPENDED = "SUSPENDED"
    REPLACED = "REPLACED"
    DELETED = "DELETED"


class InitialState(StrEnum):
    """The states in which a card may be created or registered."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"


class SuspendReason(StrEnum):
    """Why a card is suspended."""

    CARD_LOST = "CARD_LOST"
    CARD_STOLEN = "CARD_STOLEN"
    CARD_BROKEN = "CARD_BROKEN"
    FRAUD = "FRAUD"
    USER_DECISION = "USER_DECISION"
    ISSUER_DECISION = "ISSUER_DECISION"


class ResumeReason(StrEnum):
    """Why a card is resumed."""

    CARD_FOUND = "CARD_FOUND"
    USER_DECISION = "USER_DECISION"
    ISSUER_DECISION = "ISSUER_DECISION"


@dataclass(frozen=True, slots=True)
class CardProduct:
    """A card product, as set up at onboarding."""

    product_id: str
    registers: bool
    """Whether cards may be registered: the product is in "No authorisation" or "Light authorisation" mode."""
    transacts: bool
    """Whether it is used for making transactions; its card ids are then never used again."""


# Assumed.
OPERATIONS = {
    Operation.RENEW_CARD: "/operations:renew",
    Operation.REPLACE_CARD: "/operations:replace",
    Operation.DELETE_CARD: "/operations:delete",
    Operation.SUSPEND_CARD: "/operations:suspend",
    Operation.RESUME_CARD: "/operations:resume",
}
"""What follows the card's path; that v2 has a colon here, as v1 does, is assumed."""
STATUS_ASSERTION_REFUSED = 401
STATUS_CARD_CREATED = 201
STATUS_CARD_DONE = 204
STATUS_NOT_REUSABLE = 409
"""For a card id or a PAN that may not be used again."""
REASON = re.compile(r"[a-zA-Z0-9 ]{1,64}")
"""Free text, as v1 has it."""
REASON_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
"""For deletion and replacement, whose lists of codes are open."""
CURRENCY_CODE = re.compile(r"[A-Z]{3}|[0-9]{3}")
