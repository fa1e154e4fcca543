"""Replies of test handlers to callback requests."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from issuer.common.v1.card_data_pb2 import CardCredentials, CardExpiry
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import personal_information_pb2 as personal
from sandbox.handler import Responder

__all__ = ["PERSON", "PHONE", "Issuer", "reject", "tell_person"]

PHONE = "+447700900123"
PERSON = personal.PersonalInformation(
    language="en-GB",
    first_name="Zoë",
    mobile_phone_number=personal.PhoneNumber(country_code=PHONE[:3], phone_number=PHONE[3:]),
    residency_address=personal.PostalAddress(line1="1 High Street", zip_code="AB1 2CD", country_code="GB"),
)


async def tell_person(request: callback.CallbackRequest) -> callback.CallbackReply:
    """Return the same personal data for everybody."""
    del request
    return callback.CallbackReply(consumer_information=replies.ConsumerInformationResponse(personal_information=PERSON))


async def reject(request: callback.CallbackRequest) -> callback.CallbackReply:
    """Reply that the consumer is not found."""
    del request
    return callback.CallbackReply(refusal=replies.CallbackRefusal(reason=replies.CALLBACK_REFUSAL_REASON_NOT_FOUND))


@dataclass(slots=True)
class Issuer:
    """An issuer's service that handles every kind of callback and records the requests."""

    pan: str = "4970101234567890"
    otps: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    pushes: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    """The authentications started."""
    results: dict[str, "authentication.AuthenticationStatus.ValueType"] = field(default_factory=dict)
    """Their results; PENDING without one."""
    _count: int = 0

    def responders(self) -> Mapping[str, Responder]:
        """Return the responders by kind."""
        return {
            "consumer_information": tell_person,
            "deliver_otp": self._deliver,
            "authenticate": self._authenticate,
            "authentication_result": self._result,
            "card_credentials": self._credentials,
        }

    async def _deliver(self, request: callback.CallbackRequest) -> callback.CallbackReply:
        self.otps.put_nowait(request.deliver_otp.otp)
        return callback.CallbackReply(deliver_otp=replies.DeliverOtpResponse())

    async def _authenticate(self, request: callback.CallbackRequest) -> callback.CallbackReply:
        self._count += 1
        authentication_id = f"{request.authenticate.consumer_id}-{self._count}"
        self.pushes.put_nowait(authentication_id)
        return callback.CallbackReply(
            authenticate=replies.AuthenticateConsumerResponse(authentication_id=authentication_id)
        )

    async def _result(self, request: callback.CallbackRequest) -> callback.CallbackReply:
        authentication_id = request.authentication_result.authentication_id
        status = self.results.get(authentication_id, authentication.AUTHENTICATION_STATUS_PENDING)
        return callback.CallbackReply(authentication_result=replies.AuthenticationResultResponse(status=status))

    async def _credentials(self, request: callback.CallbackRequest) -> callback.CallbackReply:
        del request
        credentials = CardCredentials(pan=self.pan, expiry=CardExpiry(month=7, year=2034))
        details = replies.CardDetails(credentials=credentials, name="ZOE", cvv="123")
        return callback.CallbackReply(card_credentials=replies.CardCredentialsResponse(details=details))
