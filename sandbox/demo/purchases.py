"""Third part: purchases with each way of authenticating a cardholder, answered by the issuer's handlers."""

from collections.abc import Awaitable, Callable

from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1.service_pb2_grpc import ConsumerServiceStub
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from issuer.threeds.v1 import history_pb2
from issuer.threeds.v1.service_pb2_grpc import ThreeDSOperationServiceStub
from sandbox.d1.acs.purchase import Flow, Status
from sandbox.demo.hanging import HangingHandler
from sandbox.demo.shopper import CARD, CONSUMER, Shopper
from sandbox.demo.sights import CALLBACKS, CARDS, HANDLER, PHONE, PURCHASES
from sandbox.demo.stage import CALL_SECONDS, Stage
from sandbox.demo.steps import UnexpectedError, expect
from sandbox.handler import Handler

__all__ = ["Purchases"]


class Purchases:
    """D1 sends callbacks, a handler replies, and every purchase ends in the history and with a notification."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._shopper = Shopper(stage)

    async def walk(self, title: str = "Purchases: D1 -> HTTPS callback -> gRPC stream -> handler, and back") -> None:
        """Run the steps under a title."""
        self._stage.steps.title(title, see=PURCHASES)
        run, shopper = self._stage.steps.run, self._shopper
        await run("RegisterCard, RegisterConsumer for a shopper", shopper.register)
        await run("without a handler, D1 gets the fallback", self._no_handler, see=CALLBACKS)
        await run("a handler connects over HandleCallbacks", self._connect, see=HANDLER)
        await run("frictionless: no callback request, one notification", self._frictionless)
        await run("D1 sends the OTP to the number from the reply", shopper.otp_by_d1, see=PHONE)
        await run("the issuer sends the OTP, the consumer enters it", shopper.otp_by_issuer, see=PHONE)
        await run("D1's authenticator: enrolled, a push approved", self._approved, see=PHONE)
        await run("D1's authenticator: the next push denied", self._denied, see=PHONE)
        await run("the issuer's own app: approved", lambda: shopper.decide(approves=True), see=PHONE)
        await run("the issuer's own app: denied", lambda: shopper.decide(approves=False), see=PHONE)
        await run("RenewCard without card data: D1 requests them", shopper.renewed, see=CALLBACKS)
        await run("a handler is killed with a callback, another replies", self._killed)
        await run("ListThreeDSOperations: the history, newest first", self._history, see=CARDS)

    async def _connect(self) -> str:
        issuer = self._stage.sandbox.issuer
        await issuer.answer(issuer.all_kinds)
        await issuer.until_settled()
        return "consumer information, OTP, authentication and its result, card credentials"

    async def _no_handler(self) -> str:
        purchase = self._shopper.buy(Flow.SMS_OTP)
        await self._shopper.over(purchase, Status.FAILED)
        call = purchase.calls[0]
        return f"after {call.milliseconds:.0f} ms D1 got HTTP {call.status}; the purchase FAILED and was notified"

    async def _frictionless(self) -> str:
        return await self._shopper.over(self._shopper.buy(Flow.FRICTIONLESS), Status.SUCCESSFUL)

    async def _approved(self) -> str:
        enrolled = await self._watch_one(lambda: self._stage.sandbox.authenticators.enrol(CONSUMER))
        operation = enrolled.consumer_operation
        expect(operation.type_text == "ENROLL_AUTHN", operation.type_text)
        purchase = self._shopper.buy(Flow.OOB)
        await self._shopper.awaits(purchase, Status.AWAITS_DECISION)
        await self._shopper.act(purchase, purchase.approve)
        ended = await self._shopper.over(purchase, Status.SUCCESSFUL)
        return f"{operation.type_text} arrives; {ended}"

    async def _denied(self) -> str:
        purchase = self._shopper.buy(Flow.OOB)
        await self._shopper.awaits(purchase, Status.AWAITS_DECISION)
        await self._shopper.act(purchase, purchase.deny)
        await self._shopper.over(purchase, Status.FAILED)
        app = next(iter(self._stage.sandbox.authenticators.all()))
        removed = await self._watch_one(
            lambda: ConsumerServiceStub(self._stage.channel).DeleteAuthenticator(
                consumer.DeleteAuthenticatorRequest(app_instance_id=app), timeout=CALL_SECONDS
            )
        )
        return f"FAILED; then DeleteAuthenticator, and {removed.consumer_operation.type_text} arrives"

    async def _killed(self) -> str:
        shopper, issuer = self._shopper, self._stage.sandbox.issuer
        await issuer.answer(())
        await issuer.until_settled()
        async with HangingHandler.connect(self._stage) as hanging:
            purchase = shopper.buy(Flow.SMS_OTP_ISSUER)
            await hanging.callback_kind()
            await hanging.kill()
            async with Handler.connect(self._stage.channel, shopper.responders(), name="stand-in") as stand_in:
                await shopper.awaits(purchase, Status.AWAITS_OTP)
                shopper.type_otp(purchase)
                ended = await shopper.over(purchase, Status.SUCCESSFUL)
                attempt = stand_in.requests[0].attempt
        await issuer.answer(issuer.all_kinds)
        return f"the other handler got it as attempt {attempt}; {ended}"

    async def _history(self) -> str:
        stub = ThreeDSOperationServiceStub(self._stage.channel)
        first = await stub.ListThreeDSOperations(
            history_pb2.ListThreeDSOperationsRequest(card_id=CARD, page_size=5), timeout=CALL_SECONDS
        )
        second = await stub.ListThreeDSOperations(
            history_pb2.ListThreeDSOperationsRequest(card_id=CARD, page_size=5, page_token=first.next_page_token),
            timeout=CALL_SECONDS,
        )
        listed = [*first.operations, *second.operations]
        bought = len([each for each in self._stage.sandbox.purchases.all() if each.order.card_id == CARD])
        expect(len({each.operation_id for each in listed}) == bought, f"{len(listed)} operations of {bought}")
        return f"{bought} operations in two pages"

    async def _watch_one(self, action: Callable[[], object]) -> notification.Notification:
        """Run an action, and wait for the consumer notification that follows."""
        wanted = notification.NotificationFilter(consumer_operations=notification.ConsumerOperationFilter())
        watch = NotificationServiceStub(self._stage.channel).WatchNotifications(
            notification.WatchNotificationsRequest(filter=wanted)
        )
        try:
            await watch.read()
            done = action()
            if isinstance(done, Awaitable):
                await done
            while isinstance(batch := await watch.read(), notification.WatchNotificationsResponse):
                for each in batch.notifications:
                    return each
        finally:
            watch.cancel()
        raise UnexpectedError("the stream ended")
