"""The words, patterns and numbers of D1's API, in both directions.

The public documentation shows paths, field names, patterns and rules. Everything else is under "Assumed" below, so
that a correction is one line.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "APP_INSTANCE_ID",
    "AUTHENTICATE",
    "AUTHENTICATION_ID",
    "BACKOFF_SECONDS",
    "BANKING",
    "BANKING_PATH",
    "BIRTH_DATE",
    "CALLBACKS",
    "CALLING_CODE",
    "CARDS_PATH",
    "CARD_ID",
    "CARD_PATH",
    "CARD_PRODUCT_ID",
    "CONSUMER_ID",
    "CONSUMER_PATH",
    "CORRELATION_ID",
    "CORRELATION_ID_V1",
    "COUNTRY_CODE",
    "CREDENTIALS_ATTEMPTS",
    "CREDENTIALS_DELAY_SECONDS",
    "CURRENCY_CODE",
    "CVV",
    "DECISION_SECONDS",
    "DEFAULT_PAGE",
    "DELETE_AUTHENTICATOR_PATH",
    "DELETE_CONSUMER_PATH",
    "DELIVER_OTP",
    "EDGE_TOKEN_PATH",
    "EMAIL",
    "ENCRYPTED_DATA",
    "ERROR_STATUSES",
    "EXPIRY",
    "FIELD_APP_INSTANCE_ID",
    "FIELD_AUTHENTICATION_ID",
    "FIELD_AUTHENTICATION_STATUS",
    "FIELD_CARD_ID",
    "FIELD_PURCHASE",
    "GET_AUTHENTICATION_RESULT",
    "GET_CARD_CREDENTIALS",
    "GET_CONSUMER_INFORMATION",
    "GRANT_TYPE",
    "HISTORY_SECONDS",
    "HOLDER_NAME",
    "ISSUER_ID",
    "LANGUAGE",
    "LARGEST_PAGE",
    "NAME_ON_CARD",
    "NOTIFICATION_ATTEMPTS",
    "NOTIFY_CONSUMER_OPERATION",
    "NOTIFY_THREE_DS_OPERATION",
    "OPERATIONS",
    "OPERATION_ID",
    "OTP_ATTEMPTS",
    "OTP_CHANNEL",
    "OTP_DIGITS",
    "OTP_EXPIRATION_FORMAT",
    "OTP_LIFETIME_SECONDS",
    "OTP_REASON",
    "OUTBOUND_TIMEOUT_SECONDS",
    "PAN",
    "PERSON_NAME",
    "PERSON_TITLE",
    "PHONE_NUMBER",
    "POLL_LIMIT_SECONDS",
    "POLL_SECONDS",
    "PURCHASE_DATE_FORMAT",
    "REASON",
    "REASON_CODE",
    "STATUS_ASSERTION_REJECTED",
    "STATUS_AUTHENTICATOR_DELETED",
    "STATUS_CARD_CREATED",
    "STATUS_CARD_DONE",
    "STATUS_CARD_FOLLOWED",
    "STATUS_CERTIFICATE_REJECTED",
    "STATUS_CONSUMER_DONE",
    "STATUS_NOT_REUSABLE",
    "THREE_DS_OPERATIONS_PATH",
    "THREE_DS_OPERATION_PATH",
    "TOKEN_LIFETIME_SECONDS",
    "TOKEN_PATH",
    "USER_ID",
    "V1_BASE",
    "Callback",
    "CardProduct",
    "CardState",
    "ConsumerOperation",
    "InitialState",
    "Operation",
    "OperationStatus",
    "PurchaseField",
    "ReasonCode",
    "RequestorType",
    "ResumeReason",
    "SuspendReason",
    "ThreeDSOperation",
]

TOKEN_PATH = "/authz/v1/oauth2/token"  # noqa: S105 - a path
CARDS_PATH = "/banking/v2/issuers/{issuerId}/cards"
CARD_PATH = CARDS_PATH + "/{cardId}"
CONSUMER_PATH = "/banking/v2/issuers/{issuerId}/consumers/{consumerId}"
V1_BASE = "/banking/v1/"
"""The paths whose errors have the shape ``{"error"}``."""
DELETE_CONSUMER_PATH = "/banking/v1/issuers/{issuerId}/consumers/{consumerId}/operations:delete"
THREE_DS_OPERATIONS_PATH = "/banking/v1/issuers/{issuerId}/cards/{cardId}/3ds/operations"
THREE_DS_OPERATION_PATH = THREE_DS_OPERATIONS_PATH + "/{operationId}"
EDGE_TOKEN_PATH = "/authz/d1/v1/oauth2/token"  # noqa: S105 - a path

BANKING = "/banking/d1/v1"
"""Where D1's callbacks about consumers begin, as documented."""
BANKING_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
"""Where they may begin at another D1."""

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
"""RFC 7523, section 2.1."""
TOKEN_LIFETIME_SECONDS = 900
"""A token's lifetime, and the latest ``exp`` of an assertion from now."""

ISSUER_ID = re.compile(r"[^/]{10}")
CARD_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")
CONSUMER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
CARD_PRODUCT_ID = re.compile(r"[A-Za-z0-9_-]{1,48}")
OPERATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
CORRELATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
CORRELATION_ID_V1 = re.compile(r"[A-Za-z0-9_. -]{1,64}")
USER_ID = re.compile(r"[A-Za-z0-9_-]{1,15}")
NAME_ON_CARD = re.compile(r"[a-zA-Z. -]{0,26}")
ENCRYPTED_DATA = re.compile(r"(?=.{1,8192}\Z)[A-Za-z0-9_-]+\.(\.[A-Za-z0-9_-]+){3}")
"""A compact JWE with direct key agreement: its second part is empty."""
PAN = re.compile(r"[0-9]{10,19}")
EXPIRY = re.compile(r"(0[1-9]|1[0-2])[0-9]{2}")
"""MMYY."""
HOLDER_NAME = re.compile(r"(?s).{0,128}")
CVV = re.compile(r"[0-9]{3,4}")

LANGUAGE = re.compile(r"[a-z]{2}-[a-zA-Z]{2}")
PERSON_NAME = re.compile(r"[\w\u0600-\u06FF ,.'#;:/-]{1,128}")
"""Letters and digits of any script, Arabic, and some signs."""
PERSON_TITLE = re.compile(r"[\w\u0600-\u06FF ,.'#;:/-]{1,40}")
BIRTH_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[012])-(0[1-9]|[12][0-9]|3[01])")

DEFAULT_PAGE = 10
LARGEST_PAGE = 50
HISTORY_SECONDS = 365 * 86_400
"""How long 3DS operations are kept: a year."""


class Operation(StrEnum):
    """The calls that the simulator serves, named as in D1's specification; faults use these names."""

    GET_TOKEN = "getToken"  # noqa: S105 - the name of a call
    CREATE_CARD = "createCard"
    REGISTER_CARD = "registerCard"
    RENEW_CARD = "renewCard"
    REPLACE_CARD = "replaceCard"
    DELETE_CARD = "deleteCard"
    SUSPEND_CARD = "suspendCard"
    RESUME_CARD = "resumeCard"
    LIST_THREE_DS_OPERATIONS = "list3dsOperations"
    GET_THREE_DS_OPERATION = "get3dsOperation"
    DELETE_AUTHENTICATOR = "deleteAuthnCredentials"
    REGISTER_CONSUMER = "registerConsumer"
    DELETE_CONSUMER = "deleteConsumerV1"


class CardState(StrEnum):
    """The state of a card."""

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
    """The known reasons to suspend a card; another one is not allowed (403)."""

    CARD_LOST = "CARD_LOST"
    CARD_STOLEN = "CARD_STOLEN"
    CARD_BROKEN = "CARD_BROKEN"
    FRAUD = "FRAUD"
    USER_DECISION = "USER_DECISION"
    ISSUER_DECISION = "ISSUER_DECISION"


class ResumeReason(StrEnum):
    """The known reasons to resume a card; another one is not allowed (403)."""

    CARD_FOUND = "CARD_FOUND"
    USER_DECISION = "USER_DECISION"
    ISSUER_DECISION = "ISSUER_DECISION"


class ReasonCode(StrEnum):
    """The initiator of an operation (v1)."""

    USER_DECISION = "USER_DECISION"
    ISSUER_DECISION = "ISSUER_DECISION"


class ThreeDSOperation(StrEnum):
    """The kind of a 3-D Secure authentication."""

    FRICTIONLESS = "3DS_FRICTIONLESS"
    CHALLENGE_OOB = "3DS_CHALLENGE_OOB"
    CHALLENGE_OOB_ISSUER = "3DS_CHALLENGE_OOB_ISSUER"
    CHALLENGE_OTP_SMS = "3DS_CHALLENGE_OTP_SMS"


class ConsumerOperation(StrEnum):
    """The consumer operations that the simulator notifies."""

    ENROLL_AUTHN = "ENROLL_AUTHN"
    DELETE_AUTHN = "DELETE_AUTHN"


class RequestorType(StrEnum):
    """The kinds of party that request a consumer operation here. D1 also knows CCI."""

    ISSUER = "ISSUER"
    USER = "USER"


class OperationStatus(StrEnum):
    """The status of an operation."""

    SUCCESSFUL = "SUCCESSFUL"
    PENDING = "PENDING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback: a call that D1 makes to the edge."""

    name: str
    """The name in D1's specification."""
    method: str
    path: str
    success: int
    """The only status that means success."""


NOTIFY_THREE_DS_OPERATION = Callback(
    "notify3dsOperation", "POST", "/notifications/d1/v1/issuers/{issuerId}/cards/{cardId}/3ds/notifications", 204
)
GET_CONSUMER_INFORMATION = Callback(
    "getConsumerInformation", "GET", "/banking/d1/v1/issuers/{issuerId}/consumers/{consumerId}", 200
)
DELIVER_OTP = Callback("deliverOtp", "POST", "/banking/d1/v1/issuers/{issuerId}/consumers/{consumerId}/otp", 204)
GET_CARD_CREDENTIALS = Callback(
    "cmsGetCardCredentials", "GET", "/cms/api/v1/issuers/{issuerId}/cards/{cardId}/credentials", 200
)
ERROR_STATUSES = frozenset({400, 401, 403, 404, 405, 415, 500})
"""The error statuses of callback requests that D1 understands."""


@dataclass(frozen=True, slots=True)
class CardProduct:
    """A card product, as set up at onboarding."""

    product_id: str
    registers: bool
    """Whether cards may be registered: the product is in "No authorisation" or "Light authorisation" mode."""
    transacts: bool
    """Whether cards make transactions; their ids are then never reused."""


# Assumed.
OPERATIONS = {
    Operation.RENEW_CARD: "/operations:renew",
    Operation.REPLACE_CARD: "/operations:replace",
    Operation.DELETE_CARD: "/operations:delete",
    Operation.SUSPEND_CARD: "/operations:suspend",
    Operation.RESUME_CARD: "/operations:resume",
}
"""The suffix of the card's path; that v2 has a colon here, as v1 does, is assumed."""
STATUS_ASSERTION_REJECTED = 401
STATUS_CERTIFICATE_REJECTED = 403
"""The status for an issuer's call with another one's client certificate."""
STATUS_CARD_CREATED = 201
STATUS_CARD_DONE = 204
STATUS_CARD_FOLLOWED = 200
"""For a renewal or replacement of a card that D1 created, with the id of the card that follows; other cards get
`STATUS_CARD_DONE`."""
STATUS_NOT_REUSABLE = 409
"""For a card id or a PAN that must not be reused."""
REASON = re.compile(r"[a-zA-Z0-9 ]{1,64}")
"""Free text, as in v1."""
REASON_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
"""In v2, whose lists of codes are open."""
CURRENCY_CODE = re.compile(r"[A-Z]{3}|[0-9]{3}")
DELETE_AUTHENTICATOR_PATH = (
    "/banking/v1/issuers/{issuerId}/appinstances/{appInstanceId}/authncredentials/operations:delete"
)
STATUS_CONSUMER_DONE = 204
STATUS_AUTHENTICATOR_DELETED = 204
APP_INSTANCE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
CALLING_CODE = re.compile(r"\+[0-9]{1,4}")
PHONE_NUMBER = re.compile(r"[0-9]{1,20}")
COUNTRY_CODE = re.compile(r"[A-Z]{2}")
NOTIFY_CONSUMER_OPERATION = Callback(
    "notifyConsumerOperation",
    "POST",
    "/banking/d1/v1/issuers/{issuerId}/consumers/{consumerId}/notifications",
    204,
)
AUTHENTICATE = Callback(
    "authenticateConsumer", "POST", "/banking/d1/v1/issuers/{issuerId}/consumers/{consumerId}/authentication", 200
)
GET_AUTHENTICATION_RESULT = Callback("getAuthenticationResult", "GET", AUTHENTICATE.path + "/{authenticationId}", 200)
CALLBACKS = (
    NOTIFY_THREE_DS_OPERATION,
    NOTIFY_CONSUMER_OPERATION,
    GET_CONSUMER_INFORMATION,
    DELIVER_OTP,
    AUTHENTICATE,
    GET_AUTHENTICATION_RESULT,
    GET_CARD_CREDENTIALS,
)
"""All calls that D1 makes to the edge."""
AUTHENTICATION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
FIELD_AUTHENTICATION_ID = "authenticationId"
FIELD_AUTHENTICATION_STATUS = "status"
FIELD_APP_INSTANCE_ID = "appInstanceId"
"""In the details of a consumer notification."""
FIELD_PURCHASE = "threeDSDetails"
FIELD_CARD_ID = "cardId"
"""The card's id in Authenticate, and in the query of Deliver OTP."""


class PurchaseField(StrEnum):
    """The fields of `FIELD_PURCHASE`, all text or, as in D1's SDK, with numbers."""

    ACS_TRANSACTION_ID = "acsTransactionId"
    SDK_ACS_TRANSACTION_ID = "acsTransId"
    MERCHANT = "merchantName"
    AMOUNT = "purchaseAmount"
    """In minor units."""
    CURRENCY = "purchaseCurrency"
    """Three digits (ISO 4217)."""
    EXPONENT = "purchaseExponent"
    DATE = "purchaseDate"
    """In `PURCHASE_DATE_FORMAT`."""
    SDK_REQUESTOR_APP_URL = "threeDSRequestorAppURL"


OTP_REASON = "CARDHOLDER-VERIFICATION"
OTP_CHANNEL = "SMS"
OTP_EXPIRATION_FORMAT = "%d/%m/%Y %H:%M:%S"
PURCHASE_DATE_FORMAT = "%Y%m%d%H%M%S"
"""As in EMV 3DS; UTC."""
OUTBOUND_TIMEOUT_SECONDS = 5.0
NOTIFICATION_ATTEMPTS = 5
CREDENTIALS_ATTEMPTS = 4
BACKOFF_SECONDS = 0.2
"""The pause after the first attempt; it doubles with each further one."""
CREDENTIALS_DELAY_SECONDS = 0.05
"""The pause between the response to a renewal or replacement and the request for the card's data."""
OTP_DIGITS = 6
OTP_ATTEMPTS = 3
OTP_LIFETIME_SECONDS = 180.0
DECISION_SECONDS = 300.0
"""The time for the consumer's decision in the app."""
POLL_SECONDS = 2.0
POLL_LIMIT_SECONDS = 300.0
