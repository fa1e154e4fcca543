"""What the gateway relies on of the calls that D1 makes: their paths, success statuses and JSON names, in one table.

Most of it stands in D1's public documentation. What does not is marked `Assumed`: when D1's own specification says
otherwise, its line here is what to correct.
"""

from http import HTTPStatus
from typing import Annotated, TypeAlias, TypeVar

__all__ = [
    "AUTHENTICATE_PATH",
    "AUTHENTICATE_STATUS",
    "AUTHENTICATION_RESULT_PATH",
    "AUTHENTICATION_RESULT_STATUS",
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

Assumed: TypeAlias = Annotated[_T, "assumed"]
"""The mark of what D1's public documentation does not show."""

_CONSUMER = "/banking/d1/v1/issuers/{issuerId}/consumers/{consumerId}"

TOKEN_PATH = "/authz/d1/v1/oauth2/token"  # noqa: S105  a path
"""POST: D1 asks for a token (D1 API: outbound OAuth 2.0)."""
TOKEN_STATUS = HTTPStatus.OK

THREE_DS_NOTIFICATION_PATH = "/notifications/d1/v1/issuers/{issuerId}/cards/{cardId}/3ds/notifications"
"""POST `ThreeDSOperation`: D1 tells of a 3DS operation (D1 API: outbound 3DS API)."""
THREE_DS_NOTIFICATION_STATUS = HTTPStatus.NO_CONTENT

CONSUMER_NOTIFICATION_PATH = f"{_CONSUMER}/notifications"
"""POST `ConsumerOperation`: D1 tells of an operation on a consumer (D1 API: outbound consumer API)."""
CONSUMER_NOTIFICATION_STATUS: Assumed[HTTPStatus] = HTTPStatus.NO_CONTENT

CONSUMER_INFORMATION_PATH = _CONSUMER
"""GET, answered with `ConsumerInformation`: D1 asks who a consumer is (D1 API: outbound consumer API)."""
CONSUMER_INFORMATION_STATUS = HTTPStatus.OK
CONSUMER_INFORMATION_CARD_PARAMETER = "cardId"
"""In the query, where personal data were tied to cards at onboarding."""

DELIVER_OTP_PATH = f"{_CONSUMER}/otp"
"""POST `OtpDelivery`: D1 hands over a one-time password (D1 API: outbound consumer API)."""
DELIVER_OTP_STATUS = HTTPStatus.NO_CONTENT
DELIVER_OTP_CARD_PARAMETER: Assumed[str] = "cardId"
"""In the query."""

AUTHENTICATE_PATH = f"{_CONSUMER}/authentication"
"""POST `AuthenticationRequest`, answered with `AuthenticationReference`: D1 has a consumer authenticated."""
AUTHENTICATE_STATUS: Assumed[HTTPStatus] = HTTPStatus.OK

AUTHENTICATION_RESULT_PATH = f"{AUTHENTICATE_PATH}/{{authenticationId}}"
"""GET, answered with `AuthenticationResult`: D1 asks how that ended."""
AUTHENTICATION_RESULT_STATUS: Assumed[HTTPStatus] = HTTPStatus.OK

CARD_CREDENTIALS_PATH = "/cms/api/v1/issuers/{issuerId}/cards/{cardId}/credentials"
"""GET, answered with `CardCredentials`: D1 asks for a card's credentials (D1 API: outbound card API)."""
CARD_CREDENTIALS_STATUS = HTTPStatus.OK


class ThreeDSOperation:
    """A 3DS operation: in a notification, and in the history that D1 is asked for."""

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
    THREE_DS_SERVER_TRANS_ID = "threeDSServerTransId"


class ConsumerOperation:
    """An operation on a consumer. Modelled on the one in D1's inbound API."""

    OPERATION_ID: Assumed[str] = "operationId"
    OPERATION: Assumed[str] = "operation"
    STATUS: Assumed[str] = "status"
    START_TIME: Assumed[str] = "startTime"
    END_TIME: Assumed[str] = "endTime"
    DETAILS: Assumed[str] = "details"
    ERROR: Assumed[str] = "error"


class ConsumerOperationDetails:
    """`ConsumerOperation.DETAILS`."""

    APP_INSTANCE_ID: Assumed[str] = "appInstanceId"


class ConsumerInformation:
    """Who a consumer is."""

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
    """A one-time password to deliver. Wallets' own fields are not read."""

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
    """The purchase that a one-time password or an authentication is for. Named as in EMV 3DS and in D1's SDK."""

    ACS_TRANSACTION_ID: Assumed[str] = "acsTransactionId"
    MERCHANT_NAME: Assumed[str] = "merchantName"
    PURCHASE_AMOUNT: Assumed[str] = "purchaseAmount"
    PURCHASE_CURRENCY: Assumed[str] = "purchaseCurrency"
    PURCHASE_EXPONENT: Assumed[str] = "purchaseExponent"
    PURCHASE_DATE: Assumed[str] = "purchaseDate"


class AuthenticationRequest:
    """A consumer to authenticate."""

    CARD_ID: Assumed[str] = "cardId"
    TRANSACTION: Assumed[str] = "threeDSDetails"


class AuthenticationReference:
    """An authentication that has begun."""

    AUTHENTICATION_ID: Assumed[str] = "authenticationId"


class AuthenticationResult:
    """How an authentication stands."""

    AUTHENTICATION_ID: Assumed[str] = "authenticationId"
    STATUS: Assumed[str] = "status"
    ERROR: Assumed[str] = "error"


class CardCredentials:
    """A card's credentials, encrypted for D1."""

    ENCRYPTED_DATA = "encryptedData"
