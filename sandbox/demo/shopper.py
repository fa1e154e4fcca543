"""A shopper of the demonstration: a card at D1, and purchases with it."""

import asyncio
from collections.abc import Callable, Mapping

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.common.v1.card_data_pb2 import CardCredentials, CardExpiry
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1.service_pb2_grpc import ConsumerServiceStub
from sandbox.d1.acs.purchase import Flow, Order, Purchase, Status
from sandbox.demo.stage import CALL_SECONDS, Stage
from sandbox.demo.steps import expect
from sandbox.handler import Responder

__all__ = ["CARD", "CONSUMER", "Shopper"]

CARD, CONSUMER = "card_shopper", "consumer_shopper"
_PAN = "4970101234567999"
_EXPIRY, _MMYY = CardExpiry(month=1, year=2030), "0130"
_POLL_SECONDS = 0.05


class Shopper:
    """Makes purchases and authenticates."""

    def __init__(self, stage: Stage) -> None:
        """Start without a card.

        Args:
            stage: Has the channel for the issuer's services and handlers.
        """
        self._stage = stage

    def responders(self) -> Mapping[str, Responder]:
        """Return the handler's callbacks by kind: the sandbox's issuer answers."""
        return self._stage.sandbox.issuer.responders(self._stage.channel)

    async def register(self) -> str:
        """Register a card, and a consumer of whom D1 knows the id alone."""
        credentials = CardCredentials(pan=_PAN, expiry=_EXPIRY)
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
        await self.act(purchase, lambda: purchase.type_otp(message.otp))
        return await self.over(purchase, Status.SUCCESSFUL)

    async def otp_by_issuer(self) -> str:
        """Buy; a handler sends the OTP, and the shopper enters a wrong one first."""
        purchase = self.buy(Flow.SMS_OTP_ISSUER)
        await self.awaits(purchase, Status.AWAITS_OTP)
        await self.act(purchase, lambda: self._type_twice(purchase))
        return await self.over(purchase, Status.SUCCESSFUL)

    def type_otp(self, purchase: Purchase) -> bool:
        """Enter the OTP of the issuer's last SMS; return whether it was right."""
        return purchase.type_otp(self._stage.sandbox.phones.messages(purchase.purchase_id)[-1].otp)

    async def decide(self, *, approves: bool) -> str:
        """Buy, and approve or deny in the issuer's own app, while D1 waits for the result."""
        purchase = self.buy(Flow.OOB_ISSUER)
        await self.awaits(purchase, Status.AWAITS_DECISION)
        # D1 asks meanwhile.
        await asyncio.sleep(2 * _POLL_SECONDS)
        await self.act(purchase, purchase.approve if approves else purchase.deny)
        ended = await self.over(purchase, Status.SUCCESSFUL if approves else Status.FAILED)
        return f"{ended}, requests for the result: {len(purchase.calls) - 1}"

    async def act(self, purchase: Purchase, action: Callable[[], object]) -> None:
        """Leave the time to see what a purchase waits for, then act, unless a person at the console has."""
        awaited = purchase.status
        await self._stage.steps.glance()
        if purchase.status is awaited:
            action()

    def _type_twice(self, purchase: Purchase) -> None:
        wrong = purchase.type_otp("not it")
        right = self.type_otp(purchase)
        expect(right and not wrong, "the OTP differs from the one in the callback request")

    async def renewed(self) -> str:
        """Have D1 renew the card and request the new card's data from a handler."""
        await CardServiceStub(self._stage.channel).RenewCard(card.RenewCardRequest(card_id=CARD), timeout=CALL_SECONDS)
        store = self._stage.sandbox.store
        while store.card(CARD).awaits_credentials:  # noqa: ASYNC110 (the simulator has no event for it)
            await asyncio.sleep(_POLL_SECONDS)
        credentials = store.card(CARD).details.credentials
        expiry = _MMYY if credentials is None else credentials.expiry
        expect(expiry != _MMYY, "D1 has the old expiry")
        return f"the handler's reply, encrypted for D1: {expiry} (MMYY)"
