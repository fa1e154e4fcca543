"""Every way of authenticating a cardholder, from D1 through a real gateway process to a handler and back."""

import asyncio
import itertools
import re
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import grpc
import pytest

from issuer.callback.v1 import messages_pb2 as callback
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.consumer.v1.service_pb2_grpc import ConsumerServiceStub
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import history_pb2
from issuer.threeds.v1.service_pb2_grpc import ThreeDSOperationServiceStub
from sandbox import Sandbox
from sandbox.d1.acs.purchase import Flow, Order, Purchase, Status
from sandbox.gateway import GatewayProcess
from sandbox.handler import Handler
from tests.callback_replies import Issuer
from tests.e2e.calls import register
from tests.e2e.command import started
from tests.e2e.watching import connect, take
from tests.running import code_of

_NUMBERS = itertools.count(1)
_HANDLERS = re.compile(r"^d1_gateway_handlers_connected\{.+\} [^0]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Shop:
    """Where a card is used, which is the consumer's only one."""

    sandbox: Sandbox
    gateway: GatewayProcess
    channel: grpc.aio.Channel
    card_id: str
    consumer_id: str
    pan: str

    @classmethod
    @asynccontextmanager
    async def opened(cls, sandbox: Sandbox, gateway: GatewayProcess) -> AsyncIterator["Shop"]:
        number = next(_NUMBERS)
        card_id, consumer_id, pan = f"card_{number}", f"consumer_{number}", f"497020{number:010}"
        async with connect(gateway.grpc, sandbox.pki) as channel:
            await register(channel, card_id, consumer_id=consumer_id, pan=pan)
            yield cls(sandbox, gateway, channel, card_id, consumer_id, pan)

    def buy(self, flow: Flow, *, asks_once: bool = False) -> Purchase:
        return self.sandbox.purchases.start(Order(self.card_id, flow, poll_seconds=0.05, asks_once=asks_once))

    async def ended(self, purchase: Purchase, expected: Status, operation: str) -> None:
        """Make sure that an end is the same for the shop, the history and the subscribers."""
        assert await purchase.done() is expected, purchase.error
        assert purchase.failed_checks == []
        assert (await purchase.notified()).status == 204
        request = history_pb2.GetThreeDSOperationRequest(card_id=self.card_id, operation_id=purchase.operation_id)
        kept = (await ThreeDSOperationServiceStub(self.channel).GetThreeDSOperation(request, timeout=10)).operation
        assert (kept.type_text, kept.status_text) == (operation, expected.value)
        wanted = _from_start(notification.NotificationFilter(card_ids=[self.card_id]))
        seen = await take(self.channel, wanted, lambda seen: kept in [each.three_ds_operation for each in seen])
        assert [each.consumer_id for each in seen] == [self.consumer_id]


def _from_start(wanted: notification.NotificationFilter) -> notification.WatchNotificationsRequest:
    return notification.WatchNotificationsRequest(position=notification.START_POSITION_EARLIEST, filter=wanted)


@pytest.fixture
async def shop(shared_sandbox: Sandbox, shared_gateway: GatewayProcess) -> AsyncIterator[Shop]:
    async with Shop.opened(shared_sandbox, shared_gateway) as shop:
        yield shop
    # The next test may not meet handlers of this one.
    async with aiohttp.ClientSession() as session:
        while _HANDLERS.search(await (await session.get(f"{shared_gateway.admin}/metrics")).text()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_frictionless_purchase_needs_no_handler_and_is_notified(shop: Shop) -> None:
    purchase = shop.buy(Flow.FRICTIONLESS)
    await shop.ended(purchase, Status.SUCCESSFUL, "3DS_FRICTIONLESS")
    assert purchase.calls == []


async def test_the_issuer_delivers_the_otp_and_a_resent_one_makes_the_first_worthless(shop: Shop) -> None:
    issuer = Issuer()
    async with Handler.connect(shop.channel, issuer.responders()) as handler:
        purchase = shop.buy(Flow.SMS_OTP_ISSUER)
        first = await issuer.otps.get()
        assert await purchase.awaiting() is Status.AWAITS_OTP
        purchase.resend()
        second = await issuer.otps.get()
        assert await purchase.awaiting() is Status.AWAITS_OTP
        assert purchase.type_otp(first) == (first == second)
        assert purchase.type_otp(second)
        await shop.ended(purchase, Status.SUCCESSFUL, "3DS_CHALLENGE_OTP_SMS")
        request = handler.requests[0]
        assert request.deliver_otp.transaction.merchant_name == purchase.order.merchant
        assert request.correlation_id == purchase.operation_id


async def test_three_wrong_otps_fail_the_purchase(shop: Shop) -> None:
    issuer = Issuer()
    async with Handler.connect(shop.channel, issuer.responders()):
        purchase = shop.buy(Flow.SMS_OTP_ISSUER)
        assert await purchase.awaiting() is Status.AWAITS_OTP
        assert [purchase.type_otp("wrong") for _ in range(3)] == [False, False, False]
        await shop.ended(purchase, Status.FAILED, "3DS_CHALLENGE_OTP_SMS")


@pytest.mark.parametrize(
    ("decide", "expected"), [(Purchase.approve, Status.SUCCESSFUL), (Purchase.deny, Status.FAILED)]
)
async def test_a_push_of_d1_is_decided_with_an_enrolled_authenticator(
    shop: Shop, decide: Callable[[Purchase], None], expected: Status
) -> None:
    app = shop.sandbox.authenticators.enrol(shop.consumer_id)
    purchase = shop.buy(Flow.OOB)
    assert await purchase.awaiting() is Status.AWAITS_DECISION
    decide(purchase)
    await shop.ended(purchase, expected, "3DS_CHALLENGE_OOB")
    await ConsumerServiceStub(shop.channel).DeleteAuthenticator(
        consumer.DeleteAuthenticatorRequest(app_instance_id=app), timeout=10
    )
    wanted = notification.NotificationFilter(
        consumer_ids=[shop.consumer_id], consumer_operations=notification.ConsumerOperationFilter()
    )
    seen = await take(shop.channel, _from_start(wanted), lambda seen: len(seen) >= 2)
    assert [each.consumer_operation.type_text for each in seen] == ["ENROLL_AUTHN", "DELETE_AUTHN"]
    assert [each.consumer_operation.details.app_instance_id for each in seen] == [app, app]
    requestors = [(each.consumer_operation.requestor_type_text, each.consumer_operation.requestor_id) for each in seen]
    assert requestors == [("USER", shop.consumer_id), ("ISSUER", "")]


async def test_the_result_may_come_from_a_handler_and_then_stands(shop: Shop) -> None:
    issuer = Issuer()
    async with Handler.connect(shop.channel, issuer.responders()):
        purchase = shop.buy(Flow.OOB_ISSUER)
        pushed = await issuer.pushes.get()
        issuer.results[pushed] = authentication.AUTHENTICATION_STATUS_FAILED
        await shop.ended(purchase, Status.FAILED, "3DS_CHALLENGE_OOB_ISSUER")
    approval = authentication.AuthenticationResult(
        authentication_id=pushed, status=authentication.AUTHENTICATION_STATUS_SUCCESSFUL
    )
    request = consumer.CompleteAuthenticationRequest(consumer_id=shop.consumer_id, result=approval)
    completion = ConsumerServiceStub(shop.channel).CompleteAuthentication(request, timeout=10)
    assert await code_of(completion) is grpc.StatusCode.FAILED_PRECONDITION


async def test_the_only_request_for_a_result_is_held_until_the_result_comes(shop: Shop) -> None:
    issuer = Issuer()
    async with Handler.connect(shop.channel, issuer.responders()) as handler:
        purchase = shop.buy(Flow.OOB_ISSUER, asks_once=True)
        pushed = await issuer.pushes.get()
        # A handler that does not know the result yet has been asked for it.
        await handler.until(lambda each: len(each.acknowledgements) >= 2)
        approval = authentication.AuthenticationResult(
            authentication_id=pushed, status=authentication.AUTHENTICATION_STATUS_SUCCESSFUL
        )
        request = consumer.CompleteAuthenticationRequest(consumer_id=shop.consumer_id, result=approval)
        await ConsumerServiceStub(shop.channel).CompleteAuthentication(request, timeout=10)
        await shop.ended(purchase, Status.SUCCESSFUL, "3DS_CHALLENGE_OOB_ISSUER")
    assert [call.name for call in purchase.calls] == ["authenticateConsumer", "getAuthenticationResult"]


async def test_the_data_of_a_card_renewed_without_them_are_requested_and_encrypted_for_d1(shop: Shop) -> None:
    async with Handler.connect(shop.channel, Issuer(shop.pan).responders()):
        await CardServiceStub(shop.channel).RenewCard(card.RenewCardRequest(card_id=shop.card_id), timeout=10)
        while shop.sandbox.store.card(shop.card_id).awaits_credentials:  # noqa: ASYNC110 (as above)
            await asyncio.sleep(0.01)
    credentials = shop.sandbox.store.card(shop.card_id).details.credentials
    assert credentials is not None
    assert (credentials.pan, credentials.expiry) == (shop.pan, "0734")


@asynccontextmanager
async def _frozen_handler(shop: Shop) -> AsyncIterator[None]:
    pki = shop.sandbox.pki
    files = (pki.server_ca, pki.caller.certificate, pki.caller.key)
    frozen = started(sys.executable, "-m", "sandbox.demo.hanging_handler", shop.gateway.grpc, *files, stderr=DEVNULL)
    async with frozen as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"connected\n"
        process.send_signal(signal.SIGSTOP)
        yield


async def test_a_frozen_handler_is_passed_over_at_half_time_where_that_does_no_harm(shop: Shop) -> None:
    async with _frozen_handler(shop):
        purchase = shop.buy(Flow.SMS_OTP)
        async with Handler.connect(shop.channel, Issuer().responders()) as other:
            assert await purchase.awaiting() is Status.AWAITS_OTP, purchase.error
            assert other.requests[0].attempt == 2
        assert 900 < purchase.calls[0].milliseconds < 2000


async def test_an_otp_does_not_go_to_a_second_handler_because_the_first_is_frozen(shop: Shop) -> None:
    async with _frozen_handler(shop):
        purchase = shop.buy(Flow.SMS_OTP_ISSUER)
        async with Handler.connect(shop.channel, Issuer().responders()) as other:
            await shop.ended(purchase, Status.FAILED, "3DS_CHALLENGE_OTP_SMS")
            assert other.requests == []
        (call,) = purchase.calls
        assert call.status == 500


async def test_without_a_handler_d1_gets_the_fallback_at_the_deadline_and_the_purchase_fails(shop: Shop) -> None:
    purchase = shop.buy(Flow.SMS_OTP_ISSUER)
    await shop.ended(purchase, Status.FAILED, "3DS_CHALLENGE_OTP_SMS")
    (call,) = purchase.calls
    assert call.status == 500
    assert 1900 < call.milliseconds < 3000


async def test_a_handler_that_connects_while_the_callback_waits_saves_the_purchase(shop: Shop) -> None:
    purchase = shop.buy(Flow.SMS_OTP)
    await asyncio.sleep(0.3)
    async with Handler.connect(shop.channel, Issuer().responders()):
        assert await purchase.awaiting() is Status.AWAITS_OTP, purchase.error


async def test_a_shutdown_lets_a_handler_finish_what_d1_waits_for(sandbox: Sandbox, gateway: GatewayProcess) -> None:
    issuer = Issuer()
    may_answer = asyncio.Event()

    async def slowly(request: callback.CallbackRequest) -> callback.CallbackReply | None:
        await may_answer.wait()
        return await issuer.responders()["deliver_otp"](request)

    async with (
        Shop.opened(sandbox, gateway) as shop,
        Handler.connect(shop.channel, {"deliver_otp": slowly}) as handler,
    ):
        purchase = shop.buy(Flow.SMS_OTP_ISSUER)
        await handler.until(lambda handler: bool(handler.requests))
        stopping = asyncio.create_task(shop.gateway.stop())
        await handler.until(lambda handler: handler.is_draining)
        may_answer.set()
        assert await purchase.awaiting() is Status.AWAITS_OTP, purchase.error
        await handler.until(lambda handler: handler.error is not None)
        assert handler.error is not None
        assert handler.error.code() is grpc.StatusCode.UNAVAILABLE
        assert [acknowledgement.outcome for acknowledgement in handler.acknowledgements] == [
            callback.REPLY_OUTCOME_ACCEPTED
        ]
        assert await stopping == 0
    purchase.type_otp("over")
