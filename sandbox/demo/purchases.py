"""The third part: purchases, for which D1 asks the issuer's handlers, each way of authenticating a cardholder once."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.common.v1.card_data_pb2 import CardCredentials, CardExpiry
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1 import personal_information_pb2 as personal
from issuer.consumer.v1.service_pb2_grpc import ConsumerServiceStub
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from issuer.threeds.v1 import history_pb2
from issuer.threeds.v1.service_pb2_grpc import OperationServiceStub
from sandbox.d1.acs.purchase import Flow, Order, Purchase, Status
from sandbox.demo.stage import CALL_SECONDS, Stage
from sandbox.demo.steps import UnexpectedError, expect
from sandbox.handler import Answer, Handler

__all__ = ["Purchases"]

_CARD, _CONSUMER = "card_shopper", "consumer_shopper"
_PAN, _NEXT_YEAR = "4970101234567999", 2033
_PERSON = personal.PersonalInformation(
    language="en-GB", mobile_phone_number=personal.PhoneNumber(country_code="+44", phone_number="7700900123")
)
_POLL_SECONDS = 0.05


class Purchases:
    """D1 asks, a handler answers, and every purchase ends in the history and with a notification."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._sms: list[str] = []
        """The texts that the issuer sent by itself."""
        self._pushes: asyncio.Queue[str] = asyncio.Queue()
        """The authentications that the issuer's app was asked for."""

    async def walk(self) -> None:
        """Take the steps."""
        self._stage.steps.title("Purchases: D1 -> HTTPS callback -> gRPC stream -> handler, and back")
        run = self._stage.steps.run
        async with AsyncExitStack() as stack:

            async def connect() -> str:
                await stack.enter_async_context(Handler.connect(self._stage.channel, self._answers(), name="demo"))
                return "consumer information, OTP, authentication and its result, card credentials"

            await run("RegisterCard, RegisterConsumer for a shopper", self._register)
            await run("with no handler, D1 gets the fallback and not a hang", self._no_handler)
            await run("a handler connects over HandleCallbacks", connect)
            await run("frictionless: no question, one notification", self._frictionless)
            await run("D1 sends the OTP to the number it was told", self._otp_by_d1)
            await run("the issuer sends the OTP, the consumer types it", self._otp_by_issuer)
            await run("D1's authenticator: enrolled, a push approved", self._approved)
            await run("D1's authenticator: the next push denied", self._denied)
            await run("the issuer's own app: approved", self._issuer_approved)
            await run("the issuer's own app: denied", self._issuer_denied)
            await run("RenewCard without card data: D1 asks for them", self._renewed)
        await run("a handler is killed mid-question, another answers", self._killed)
        await run("ListOperations: the history, newest first", self._history)

    def _answers(self) -> Mapping[str, Answer]:
        return {
            "consumer_information": _tell_person,
            "deliver_otp": self._send_sms,
            "authenticate": self._push,
            "authentication_result": _still_pending,
            "card_credentials": _tell_credentials,
        }

    async def _register(self) -> str:
        credentials = CardCredentials(pan=_PAN, expiry=CardExpiry(month=1, year=_NEXT_YEAR - 3))
        await CardServiceStub(self._stage.channel).RegisterCard(
            card.RegisterCardRequest(
                card_id=_CARD, consumer_id=_CONSUMER, card_product_id="light", credentials=credentials
            ),
            timeout=CALL_SECONDS,
        )
        await ConsumerServiceStub(self._stage.channel).RegisterConsumer(
            consumer.RegisterConsumerRequest(consumer_id=_CONSUMER), timeout=CALL_SECONDS
        )
        return "no personal data at D1: it has to ask"

    async def _no_handler(self) -> str:
        purchase = self._buy(Flow.SMS_OTP)
        await self._over(purchase, Status.FAILED)
        call = purchase.calls[0]
        return f"after {call.milliseconds:.0f} ms D1 got HTTP {call.status}; the purchase FAILED and was notified"

    async def _frictionless(self) -> str:
        purchase = self._buy(Flow.FRICTIONLESS)
        return await self._over(purchase, Status.SUCCESSFUL)

    async def _otp_by_d1(self) -> str:
        purchase = self._buy(Flow.SMS_OTP)
        await self._awaiting(purchase, Status.AWAITS_OTP)
        message = self._stage.sandbox.phones.messages(purchase.purchase_id)[0]
        expect(message.phone == "+447700900123", "the SMS went elsewhere")
        purchase.type_otp(message.otp)
        return await self._over(purchase, Status.SUCCESSFUL)

    async def _otp_by_issuer(self) -> str:
        purchase = self._buy(Flow.SMS_OTP_ISSUER)
        await self._awaiting(purchase, Status.AWAITS_OTP)
        wrong = purchase.type_otp("not it")
        right = purchase.type_otp(self._sms.pop())
        expect(right and not wrong, "the password was not the one that the handler was handed")
        return await self._over(purchase, Status.SUCCESSFUL)

    async def _approved(self) -> str:
        enrolled = await self._watch_one(lambda: self._stage.sandbox.authenticators.enrol(_CONSUMER))
        operation = enrolled.consumer_operation
        expect(operation.operation_text == "ENROLL_AUTHN", operation.operation_text)
        purchase = self._buy(Flow.OOB)
        await self._awaiting(purchase, Status.AWAITS_DECISION)
        purchase.approve()
        return f"{operation.operation_text} was notified; {await self._over(purchase, Status.SUCCESSFUL)}"

    async def _denied(self) -> str:
        purchase = self._buy(Flow.OOB)
        await self._awaiting(purchase, Status.AWAITS_DECISION)
        purchase.deny()
        await self._over(purchase, Status.FAILED)
        app = next(iter(self._stage.sandbox.authenticators.all()))
        removed = await self._watch_one(
            lambda: ConsumerServiceStub(self._stage.channel).DeleteCredentials(
                consumer.DeleteCredentialsRequest(app_instance_id=app), timeout=CALL_SECONDS
            )
        )
        return f"FAILED; then DeleteCredentials, and {removed.consumer_operation.operation_text} was notified"

    async def _issuer_approved(self) -> str:
        return await self._decide(authentication.AUTHENTICATION_STATUS_SUCCESSFUL, Status.SUCCESSFUL)

    async def _issuer_denied(self) -> str:
        return await self._decide(authentication.AUTHENTICATION_STATUS_FAILED, Status.FAILED)

    async def _decide(self, status: "authentication.AuthenticationStatus.ValueType", expected: Status) -> str:
        purchase = self._buy(Flow.OOB_ISSUER)
        pushed = await self._pushes.get()
        # D1 polls meanwhile.
        await asyncio.sleep(2 * _POLL_SECONDS)
        result = authentication.AuthenticationResult(authentication_id=pushed, status=status)
        await ConsumerServiceStub(self._stage.channel).CompleteAuthentication(
            consumer.CompleteAuthenticationRequest(result=result), timeout=CALL_SECONDS
        )
        ended = await self._over(purchase, expected)
        return f"{ended}, after {len(purchase.calls) - 1} polls"

    async def _renewed(self) -> str:
        await CardServiceStub(self._stage.channel).RenewCard(card.RenewCardRequest(card_id=_CARD), timeout=CALL_SECONDS)
        store = self._stage.sandbox.store
        while store.card(_CARD).awaits_credentials:  # noqa: ASYNC110 (the simulator has no event for it)
            await asyncio.sleep(_POLL_SECONDS)
        credentials = store.card(_CARD).details.credentials
        expect(credentials is not None and credentials.expiry == "0133", "D1 has another expiry")
        return "the handler's answer, encrypted for D1: 0133 (MMYY)"

    async def _killed(self) -> str:
        async with self._hanging_handler() as process:
            purchase = self._buy(Flow.SMS_OTP_ISSUER)
            await _line(process)
            process.kill()
            async with Handler.connect(self._stage.channel, self._answers(), name="stand-in") as stand_in:
                await self._awaiting(purchase, Status.AWAITS_OTP)
                purchase.type_otp(self._sms.pop())
                ended = await self._over(purchase, Status.SUCCESSFUL)
                return f"the stand-in got it as attempt {stand_in.questions[0].attempt}; {ended}"

    async def _history(self) -> str:
        stub = OperationServiceStub(self._stage.channel)
        first = await stub.ListOperations(
            history_pb2.ListOperationsRequest(card_id=_CARD, page_size=5), timeout=CALL_SECONDS
        )
        second = await stub.ListOperations(
            history_pb2.ListOperationsRequest(card_id=_CARD, page_size=5, page_token=first.next_page_token),
            timeout=CALL_SECONDS,
        )
        listed = [*first.operations, *second.operations]
        bought = len([each for each in self._stage.sandbox.purchases.all() if each.order.card_id == _CARD])
        expect(len({each.operation_id for each in listed}) == bought, f"{len(listed)} operations of {bought}")
        return f"{bought} operations in two pages"

    def _buy(self, flow: Flow) -> Purchase:
        return self._stage.sandbox.purchases.start(Order(_CARD, flow, poll_seconds=_POLL_SECONDS))

    async def _over(self, purchase: Purchase, expected: Status) -> str:
        status = await purchase.done()
        expect(status is expected, f"{status}: {purchase.error}")
        expect(not purchase.failed_checks, ", ".join(purchase.failed_checks))
        delivery = await purchase.notified()
        expect(delivery.status == 204, f"the notification was answered with {delivery.status}")  # noqa: PLR2004 (HTTP)
        return f"{purchase.operation().operation} {status}"

    async def _awaiting(self, purchase: Purchase, expected: Status) -> None:
        status = await purchase.awaiting()
        expect(status is expected, f"{status}: {purchase.error}")

    async def _watch_one(self, action: Callable[[], object]) -> notification.Notification:
        """Do something, and wait for the consumer notification that follows."""
        wanted = notification.NotificationFilter(kinds=[notification.NOTIFICATION_KIND_CONSUMER_OPERATION])
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

    async def _push(self, question: callback.Question) -> callback.Reply:
        del question
        authentication_id = f"push_{len(self._stage.sandbox.purchases.all())}"
        await self._pushes.put(authentication_id)
        return callback.Reply(authenticate=replies.AuthenticateResponse(authentication_id=authentication_id))

    async def _send_sms(self, question: callback.Question) -> callback.Reply:
        self._sms.append(question.deliver_otp.otp)
        return callback.Reply(deliver_otp=replies.DeliverOtpResponse())

    @asynccontextmanager
    async def _hanging_handler(self) -> AsyncIterator[asyncio.subprocess.Process]:
        pki = self._stage.sandbox.pki
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sandbox.demo.hanging_handler"),
            *(self._stage.gateway.grpc, pki.server_ca, pki.caller.certificate, pki.caller.key),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            await _line(process)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _line(process: asyncio.subprocess.Process) -> str:
    if process.stdout is None:
        raise RuntimeError("it has no standard output")
    line = await process.stdout.readline()
    expect(bool(line), "the handler's process ended")
    return line.decode().strip()


async def _tell_person(question: callback.Question) -> callback.Reply:
    del question
    return callback.Reply(consumer_information=replies.ConsumerInformationResponse(personal_information=_PERSON))


async def _still_pending(question: callback.Question) -> callback.Reply:
    del question
    pending = authentication.AUTHENTICATION_STATUS_PENDING
    return callback.Reply(authentication_result=replies.AuthenticationResultResponse(status=pending))


async def _tell_credentials(question: callback.Question) -> callback.Reply:
    del question
    credentials = CardCredentials(pan=_PAN, expiry=CardExpiry(month=1, year=_NEXT_YEAR))
    details = replies.CardDetails(credentials=credentials)
    return callback.Reply(card_credentials=replies.CardCredentialsResponse(details=details))
