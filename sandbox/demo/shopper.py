"""A shopper of the demonstration: a card at D1, purchases with it, and a handler that replies for the issuer."""

import asyncio
from collections.abc import Mapping

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.common.v1.card_data_pb2 import CardCredentials, CardExpiry
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1 import personal_information_pb2 as personal
from issuer.consumer.v1.service_pb2_grpc import ConsumerServiceStub
from sandbox.d1.acs.purchase import Flow, Order, Purchase, Status
from sandbox.demo.stage import CALL_SECONDS, Stage
from sandbox.demo.steps import expect
from sandbox.handler import Responder

__all__ = ["CARD", "CONSUMER", "Shopper"]

CARD, CONSUMER = "card_shopper", "consumer_shopper"
_PAN, _NEXT_YEAR = "4970101234567999", 2033
_PERSON = personal.PersonalInformation(
    language="en-GB", mobile_phone_number=personal.PhoneNumber(country_code="+44", phone_number="7700900123")
)
_POLL_SECONDS = 0.05


class Shopper:
    """Makes purchases and authenticates."""

    def __init__(self, stage: Stage) -> None:
        """Start without a card.

        Args:
            stage: Has the channel for the issuer's services and handlers.
        """
        self._stage = stage
        self._sms: list[str] = []
        """The SMS that the issuer sent."""
        self._pushes: asyncio.Queue[str] = asyncio.Queue()
        """The authentications requested from the issuer's app."""

    def responders(self) -> Mapping[str, Responder]:
        """Return the handler's callbacks by kind."""
        return {
            "consumer_information": _tell_person,
            "deliver_otp": self.send_sms,
            "authenticate": self._push,
            "authentication_result": _still_pending,
            "card_credentials": _tell_credentials,
        }

    async def register(self) -> str:
        """Register a card, and a consumer of whom D1 knows the id alone."""
        credentials = CardCredentials(pan=_PAN, expiry=CardExpiry(month=1, year=_NEXT_YEAR - 3))
        await CardServiceStub(self._stage.channel).RegisterCard(
            card.RegisterCardRequest(
                card_id=CARD, consumer_id=CONSUMER, card_product_id="light", credentials=credentials
            ),
            timeout=CALL_SECONDS,
        )
        await ConsumerServiceStub(self._stage.channel).RegisterConsumer(
            consumer.RegisterConsumerRequest(consumer_id=CONSUMER), timeout=CALL_SECONDS
        )
        return "no personal data at D1: it must request them"

    def buy(self, flow: Flow) -> Purchase:
        """Start a purchase."""
        return self._stage.sandbox.purchases.start(Order(CARD, flow, poll_seconds=_POLL_SECONDS))

    async def awaits(self, purchase: Purchase, expected: Status) -> None:
        """Wait until the purchase waits for the shopper.

        Raises:
            UnexpectedError: The purchase does not wait for the expected action.
        """
        status = await purchase.awaiting()
        expect(status is expected, f"{status}: {purchase.error}")

    async def over(self, purchase: Purchase, expected: Status) -> str:
        """Wait until a purchase is over and D1 has notified it.

        Raises:
            UnexpectedError: It has another end, or the edge did not accept the notification.
        """
        status = await purchase.done()
        expect(status is expected, f"{status}: {purchase.error}")
        expect(not purchase.failed_checks, ", ".join(purchase.failed_checks))
        delivery = await purchase.notified()
        expect(delivery.status == 204, f"the notification got HTTP {delivery.status}")  # noqa: PLR2004 (HTTP)
        return f"{purchase.operation().operation} {status}"

    async def otp_by_d1(self) -> str:
        """Buy; D1 sends the OTP to the number in the handler's reply."""
        return await self.enter_otp_by_d1(self.buy(Flow.SMS_OTP))

    async def enter_otp_by_d1(self, purchase: Purchase) -> str:
        """Finish a purchase whose OTP D1 sends."""
        await self.awaits(purchase, Status.AWAITS_OTP)
        message = self._stage.sandbox.phones.messages(purchase.purchase_id)[0]
        expect(message.phone == "+447700900123", "the SMS went elsewhere")
        purchase.type_otp(message.otp)
        return await self.over(purchase, Status.SUCCESSFUL)

    async def otp_by_issuer(self) -> str:
        """Buy; a handler sends the OTP, and the shopper enters a wrong one first."""
        purchase = self.buy(Flow.SMS_OTP_ISSUER)
        await self.awaits(purchase, Status.AWAITS_OTP)
        wrong = purchase.type_otp("not it")
        right = self.type_otp(purchase)
        expect(right and not wrong, "the OTP differs from the one in the callback request")
        return await self.over(purchase, Status.SUCCESSFUL)

    def type_otp(self, purchase: Purchase) -> bool:
        """Enter the OTP of the issuer's last SMS; return whether it was right."""
        return purchase.type_otp(self._sms.pop())

    async def decide(self, status: "authentication.AuthenticationStatus.ValueType", expected: Status) -> str:
        """Buy, and approve or deny in the issuer's own app, while D1 waits for the result."""
        purchase = self.buy(Flow.OOB_ISSUER)
        pushed = await self._pushes.get()
        # D1 asks meanwhile.
        await asyncio.sleep(2 * _POLL_SECONDS)
        result = authentication.AuthenticationResult(authentication_id=pushed, status=status)
        await ConsumerServiceStub(self._stage.channel).CompleteAuthentication(
            consumer.CompleteAuthenticationRequest(consumer_id=CONSUMER, result=result), timeout=CALL_SECONDS
        )
        ended = await self.over(purchase, expected)
        return f"{ended}, requests for the result: {len(purchase.calls) - 1}"

    async def renewed(self) -> str:
        """Have D1 renew the card and request the new card's data from a handler."""
        await CardServiceStub(self._stage.channel).RenewCard(card.RenewCardRequest(card_id=CARD), timeout=CALL_SECONDS)
        store = self._stage.sandbox.store
        while store.card(CARD).awaits_credentials:  # noqa: ASYNC110 (the simulator has no event for it)
            await asyncio.sleep(_POLL_SECONDS)
        credentials = store.card(CARD).details.credentials
        expect(credentials is not None and credentials.expiry == "0133", "D1 has another expiry")
        return "the handler's reply, encrypted for D1: 0133 (MMYY)"

    async def send_sms(self, request: callback.CallbackRequest) -> callback.CallbackReply:
        """Reply as the issuer's SMS service: the shopper gets an SMS."""
        self._sms.append(request.deliver_otp.otp)
        return callback.CallbackReply(deliver_otp=replies.DeliverOtpResponse())

    async def _push(self, request: callback.CallbackRequest) -> callback.CallbackReply:
        del request
        authentication_id = f"push_{len(self._stage.sandbox.purchases.all())}"
        await self._pushes.put(authentication_id)
        return callback.CallbackReply(
            authenticate=replies.AuthenticateConsumerResponse(authentication_id=authentication_id)
        )


async def _tell_person(request: callback.CallbackRequest) -> callback.CallbackReply:
    del request
    return callback.CallbackReply(
        consumer_information=replies.ConsumerInformationResponse(personal_information=_PERSON)
    )


async def _still_pending(request: callback.CallbackRequest) -> callback.CallbackReply:
    del request
    pending = authentication.AUTHENTICATION_STATUS_PENDING
    return callback.CallbackReply(authentication_result=replies.AuthenticationResultResponse(status=pending))


async def _tell_credentials(request: callback.CallbackRequest) -> callback.CallbackReply:
    del request
    credentials = CardCredentials(pan=_PAN, expiry=CardExpiry(month=1, year=_NEXT_YEAR))
    details = replies.CardDetails(credentials=credentials, cvv="123")
    return callback.CallbackReply(card_credentials=replies.CardCredentialsResponse(details=details))
