"""D1's callbacks: their paths, success statuses and JSON names, in one table.

Most of it is in D1's public documentation. The rest is marked as assumed, and listed in docs/d1-assumptions.md: if D1's
own specification differs, correct its line here.
"""

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Final, TypeAlias, TypeVar

from adapters.d1.assumptions import Assumption

__all__ = [
    "AUTHENTICATE_PATH",
    "AUTHENTICATE_STATUS",
    "AUTHENTICATION_RESULT_PATH",
    "AUTHENTICATION_RESULT_STATUS",
    "BANKING",
    "BATCH",
    "CARD_CREDENTIALS_PATH",
    "CARD_CREDENTIALS_STATUS",
    "CONSUMER_INFORMATION_CARD_PARAMETER",
    "CONSUMER_INFORMATION_PATH",
    "CONSUMER_INFORMATION_STATUS",
    "CONSUMER_NOTIFICATION_PATH",
    "CONSUMER_NOTIFICATION_STATUS",
    "DELIVER_OTP_CARD_PARAMETER",
    "DELIVER_OTP_PATH",
    "DELIVER_OTP_STATUS",
    "THREE_DS_NOTIFICATION_PATH",
    "THREE_DS_NOTIFICATION_STATUS",
    "TOKEN_PATH",
    "TOKEN_STATUS",
    "Address",
    "Assumed",
    "AuthenticationReference",
    "AuthenticationRequest",
    "AuthenticationResult",
    "CardCredentials",
    "ConsumerInformation",
    "ConsumerOperation",
    "ConsumerOperationDetails",
    "Otp",
    "OtpDelivery",
    "PhoneNumber",
    "ThreeDSOperation",
    "ThreeDSOperationDetails",
    "ThreeDSTransaction",
]

_T = TypeVar("_T")

_READ: Final = Assumption(
    basis="models of D1's inbound API and SDK, and EMV 3DS",
    if_wrong="The field stays empty, what D1 sends instead is unrecognized, and `upstream_misfits_total` may count it.",
)
Assumed: TypeAlias = Annotated[_T, _READ]
"""Mark of facts that D1's public documentation does not show."""
_Identity: TypeAlias = Annotated[
    _T,
    replace(_READ, if_wrong="D1 gets 400 for every such notification, and does not send it again: they are lost."),
]
_Answered: TypeAlias = Annotated[
    _T,
    Assumption(
        basis="the name in the path of D1's next request, and words that D1 uses elsewhere",
        if_wrong="D1 does not find the answer: each step-up authentication of the issuer fails.",
    ),
]
_AnsweredStatus: TypeAlias = Annotated[
    _T,
    Assumption(
        basis="D1's other callbacks, whose status it shows",
        if_wrong="D1 may take a success for a failure: it sends a notification again, or a step-up fails.",
    ),
]

BANKING = "/banking/d1/v1"
"""Where the callbacks about consumers begin. An integrator's D1 also called some of them below ``/banking/v1``."""
_CONSUMER = f"{BANKING}/issuers/{{issuerId}}/consumers/{{consumerId}}"

TOKEN_PATH = "/authz/d1/v1/oauth2/token"  # noqa: S105  a path
"""POST: issues a token to D1 (D1 API: outbound OAuth 2.0)."""
TOKEN_STATUS = HTTPStatus.OK

THREE_DS_NOTIFICATION_PATH = "/notifications/d1/v1/issuers/{issuerId}/cards/{cardId}/3ds/notifications"
"""POST `ThreeDSOperation`: notification of a 3DS operation (D1 API: outbound 3DS API)."""
THREE_DS_NOTIFICATION_STATUS = HTTPStatus.NO_CONTENT

CONSUMER_NOTIFICATION_PATH = f"{_CONSUMER}/notifications"
"""POST `ConsumerOperation`: notification of an operation on a consumer (D1 API: outbound consumer API)."""
CONSUMER_NOTIFICATION_STATUS: _AnsweredStatus[HTTPStatus] = HTTPStatus.NO_CONTENT

BATCH: _Identity[str] = "operations"
"""List of operations in one notification, as in D1's newer notifications of card operations."""

CONSUMER_INFORMATION_PATH = _CONSUMER
"""GET `ConsumerInformation`: a consumer's personal information (D1 API: outbound consumer API)."""
CONSUMER_INFORMATION_STATUS = HTTPStatus.OK
CONSUMER_INFORMATION_CARD_PARAMETER = "cardId"
"""Query parameter, present if personal data were tied to cards at onboarding."""

DELIVER_OTP_PATH = f"{_CONSUMER}/otp"
"""POST `OtpDelivery`: a one-time password to deliver (D1 API: outbound consumer API)."""
DELIVER_OTP_STATUS = HTTPStatus.NO_CONTENT
DELIVER_OTP_CARD_PARAMETER: Assumed[str] = "cardId"
"""Query parameter."""

AUTHENTICATE_PATH = f"{_CONSUMER}/authentication"
"""POST `AuthenticationRequest`, response `AuthenticationReference`: authenticates a consumer."""
AUTHENTICATE_STATUS: _AnsweredStatus[HTTPStatus] = HTTPStatus.OK

AUTHENTICATION_RESULT_PATH = f"{AUTHENTICATE_PATH}/{{authenticationId}}"
"""GET `AuthenticationResult`: the state of an authentication."""
AUTHENTICATION_RESULT_STATUS: _AnsweredStatus[HTTPStatus] = HTTPStatus.OK

CARD_CREDENTIALS_PATH = "/cms/api/v1/issuers/{issuerId}/cards/{cardId}/credentials"
"""GET `CardCredentials`: a card's credentials (D1 API: outbound card API)."""
CARD_CREDENTIALS_STATUS = HTTPStatus.OK


class ThreeDSOperation:
    """A 3DS operation, in a notification and in D1's history."""

    OPERATION_ID = "operationId"
    OPERATION = "operation"
    STATUS = "status"
    START_TIME = "startTime"
    CONSUMER_ID = "consumerId"
    DETAILS = "details"
    ERROR = "error"


class ThreeDSOperationDetails:
    """`ThreeDSOperation.DETAILS`. D1 sends more than this."""

    ACS_TRANSACTION_ID = "acsTransactionId"
    ACS_TRANS_ID: Assumed[str] = "acsTransId"
    ACS_TRANS_ID_EMV: Assumed[str] = "acsTransID"
    THREE_DS_SERVER_TRANS_ID = "threeDSServerTransId"
    THREE_DS_SERVER_TRANS_ID_EMV: Assumed[str] = "threeDSServerTransID"


class ConsumerOperation:
    """An operation on a consumer. Modelled on the one in D1's inbound API."""

    OPERATION_ID: _Identity[str] = "operationId"
    OPERATION: Assumed[str] = "operation"
    STATUS: Assumed[str] = "status"
    START_TIME: Assumed[str] = "startTime"
    END_TIME: Assumed[str] = "endTime"
    REQUESTOR_TYPE: Assumed[str] = "requestorType"
    REQUESTOR_ID: Assumed[str] = "requestorId"
    DETAILS: Assumed[str] = "details"
    ERROR: Assumed[str] = "error"


class ConsumerOperationDetails:
    """`ConsumerOperation.DETAILS`."""

    APP_INSTANCE_ID: Assumed[str] = "appInstanceId"


class ConsumerInformation:
    """A consumer's personal information."""

    LANGUAGE = "language"
    FIRST_NAME = "firstName"
    MIDDLE_NAME = "middleName"
    LAST_NAME = "lastName"
    TITLE = "title"
    DATE_OF_BIRTH = "dateOfBirth"
    EMAIL = "email"
    MOBILE_PHONE_NUMBER = "mobilePhoneNumber"
    RESIDENCY_ADDRESS = "residencyAddress"


class PhoneNumber:
    """`ConsumerInformation.MOBILE_PHONE_NUMBER`."""

    COUNTRY_CODE = "countryCode"
    PHONE_NUMBER = "phoneNumber"


class Address:
    """`ConsumerInformation.RESIDENCY_ADDRESS`."""

    LINE1 = "line1"
    LINE2 = "line2"
    CITY = "city"
    STATE = "state"
    ZIP_CODE = "zipCode"
    COUNTRY_CODE = "countryCode"


class OtpDelivery:
    """A one-time password to deliver. Fields for wallets are not read."""

    OTP = "otp"
    DELIVERY_CHANNEL = "deliveryChannel"
    PAN_SUFFIX = "panSuffix"
    TRANSACTION: Assumed[str] = "threeDSDetails"


class Otp:
    """`OtpDelivery.OTP`."""

    VALUE = "value"
    EXPIRATION_DATE = "expirationDate"
    REASON = "reason"


class ThreeDSTransaction:
    """The purchase that needs a one-time password or an authentication. Named as in EMV 3DS and in D1's SDK."""

    ACS_TRANSACTION_ID: Assumed[str] = "acsTransactionId"
    ACS_TRANS_ID: Assumed[str] = "acsTransId"
    ACS_TRANS_ID_EMV: Assumed[str] = "acsTransID"
    MERCHANT_NAME: Assumed[str] = "merchantName"
    PURCHASE_AMOUNT: Assumed[str] = "purchaseAmount"
    PURCHASE_CURRENCY: Assumed[str] = "purchaseCurrency"
    PURCHASE_EXPONENT: Assumed[str] = "purchaseExponent"
    PURCHASE_DATE: Assumed[str] = "purchaseDate"
    THREE_DS_REQUESTOR_APP_URL: Assumed[str] = "threeDSRequestorAppURL"


class AuthenticationRequest:
    """A request to authenticate a consumer."""

    CARD_ID: Assumed[str] = "cardId"
    TRANSACTION: Assumed[str] = "threeDSDetails"


class AuthenticationReference:
    """Reference to a started authentication."""

    AUTHENTICATION_ID: _Answered[str] = "authenticationId"


class AuthenticationResult:
    """State of an authentication."""

    AUTHENTICATION_ID: _Answered[str] = "authenticationId"
    STATUS: _Answered[str] = "status"
    ERROR: _Answered[str] = "error"


class CardCredentials:
    """A card's credentials, encrypted for D1."""

    ENCRYPTED_DATA = "encryptedData"
