"""Handlers of D1's callbacks: purchases through a real gateway, with plain functions as handlers."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from d1_gateway_client import (
    AsyncGatewayClient,
    CallbackContext,
    CallbackHandler,
    CallbackRefusalReason,
    Refuse,
    errors,
)
from d1_gateway_client.contracts.issuer.callback.v1 import (
    AuthenticateConsumerRequest,
    AuthenticateConsumerResponse,
    AuthenticationResultRequest,
    AuthenticationResultResponse,
    CardCredentialsRequest,
    CardCredentialsResponse,
    CardDetails,
    ConsumerInformationRequest,
    ConsumerInformationResponse,
    DeliverOtpRequest,
    DeliverOtpResponse,
)
from d1_gateway_client.contracts.issuer.card.v1 import RegisterCardRequest, RenewCardRequest
from d1_gateway_client.contracts.issuer.common.v1 import CardCredentials, CardExpiry
from d1_gateway_client.contracts.issuer.consumer.v1 import (
    AuthenticationStatus,
    PersonalInformation,
    PhoneNumber,
    RegisterConsumerRequest,
)
from sandbox import Sandbox
from sandbox.d1.acs.purchase import Flow, Order, Purchase, Status
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.clients.client_gateways import options_for
from tests.clients.client_links import Link
from tests.running import Running

PERSON = PersonalInformation(
    language="en-GB", mobile_phone_number=PhoneNumber(country_code="+44", phone_number="7700900123")
)


@pytest.fixture(autouse=True)
def d1_calls_the_modules_gateway(running: Running) -> None:
    running.sandbox.set_edge(running.edge)


@pytest.fixture(scope="module")
async def shopper(client: AsyncGatewayClient) -> AsyncGatewayClient:
    """The client, with a registered consumer and card at D1."""
    await register(client)
    return client


async def register(client: AsyncGatewayClient) -> None:
    await client.cards.register_card(
        RegisterCardRequest(
            card_id="card-1",
            consumer_id="consumer-1",
            card_product_id="light",
            credentials=CardCredentials(pan="4970101234567890", expiry=CardExpiry(month=12, year=2031)),
        )
    )
    await client.consumers.register_consumer(RegisterConsumerRequest(consumer_id="consumer-1"))


def buy(sandbox: Sandbox, flow: Flow) -> Purchase:
    return sandbox.purchases.start(Order("card-1", flow, poll_seconds=0.05))


class Otps(CallbackHandler):
    """A handler that sends OTPs and records them."""

    def __init__(self) -> None:
        super().__init__("otps", drain_seconds=10)
        self.sent: asyncio.Queue[str] = asyncio.Queue()
        self.contexts: list[CallbackContext] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.deliver_otp(self.send)

    async def send(self, request: DeliverOtpRequest, context: CallbackContext) -> DeliverOtpResponse:
        self.contexts.append(context)
        self.sent.put_nowait(request.otp)
        await self.may_answer.wait()
        return DeliverOtpResponse()


async def finished(purchase: Purchase, otp: str) -> Status:
    """Enter an OTP when the purchase waits for it; return the purchase's end."""
    assert await purchase.awaiting() is Status.AWAITS_OTP, purchase.error
    assert purchase.type_otp(otp)
    return await purchase.done()


async def test_every_kind_of_callback_is_handled_by_its_function(shopper: AsyncGatewayClient, running: Running) -> None:
    handler = CallbackHandler("issuer")
    passwords: list[str] = []
    decided: list[str] = []

    @handler.consumer_information
    async def who(request: ConsumerInformationRequest, context: CallbackContext) -> ConsumerInformationResponse:
        assert (request.consumer_id, context.issuer_id) == ("consumer-1", "SANDBOX001")
        return ConsumerInformationResponse(personal_information=PERSON)

    @handler.deliver_otp
    async def send(request: DeliverOtpRequest, context: CallbackContext) -> DeliverOtpResponse:
        assert 0 < context.seconds_left < 60
        passwords.append(request.otp)
        return DeliverOtpResponse()

    @handler.authenticate
    async def begin(request: AuthenticateConsumerRequest, context: CallbackContext) -> AuthenticateConsumerResponse:
        assert context.attempt == 1
        return AuthenticateConsumerResponse(authentication_id=f"push-{request.consumer_id}")

    @handler.authentication_result
    async def result(request: AuthenticationResultRequest, context: CallbackContext) -> AuthenticationResultResponse:
        assert context.correlation_id
        decided.append(request.authentication_id)
        status = AuthenticationStatus.PENDING if len(decided) == 1 else AuthenticationStatus.SUCCESSFUL
        return AuthenticationResultResponse(status=status)

    @handler.card_credentials
    async def credentials(request: CardCredentialsRequest, context: CallbackContext) -> CardCredentialsResponse:
        assert (request.card_id, context.attempt) == ("card-1", 1)
        known = CardCredentials(pan="4970101234567890", expiry=CardExpiry(month=7, year=2034))
        return CardCredentialsResponse(details=CardDetails(credentials=known, cvv="123"))

    async with handler.serving(shopper):
        by_d1 = buy(running.sandbox, Flow.SMS_OTP)
        assert await by_d1.awaiting() is Status.AWAITS_OTP, by_d1.error
        (message,) = running.sandbox.phones.messages(by_d1.purchase_id)
        assert message.phone == "+447700900123"
        by_issuer = buy(running.sandbox, Flow.SMS_OTP_ISSUER)
        assert await by_issuer.awaiting() is Status.AWAITS_OTP, by_issuer.error
        assert await finished(by_issuer, passwords.pop()) is Status.SUCCESSFUL
        pushed = buy(running.sandbox, Flow.OOB_ISSUER)
        assert await pushed.done() is Status.SUCCESSFUL
        assert set(decided) == {"push-consumer-1"}
        await shopper.cards.renew_card(RenewCardRequest(card_id="card-1"))
        while running.sandbox.store.card("card-1").awaits_credentials:  # noqa: ASYNC110 (the simulator sends no event)
            await asyncio.sleep(0.05)
    known = running.sandbox.store.card("card-1").details.credentials
    assert known
    assert known.expiry == "0734"


async def failed_callback(
    shopper: AsyncGatewayClient, sandbox: Sandbox, handler: CallbackHandler, flow: Flow
) -> int | None:
    """Start a purchase that must fail; return the status of its only callback."""
    async with handler.serving(shopper):
        purchase = buy(sandbox, flow)
        assert await purchase.done() is Status.FAILED
    (call,) = purchase.calls
    assert "secret" not in f"{call}"
    return call.status


async def test_exceptions_become_errors_without_details(
    shopper: AsyncGatewayClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    handler = CallbackHandler("failing")

    @handler.deliver_otp
    async def fail(request: DeliverOtpRequest, context: CallbackContext) -> DeliverOtpResponse:
        del context
        raise LookupError(f"no phone for {request.otp}, a secret of the service")

    assert await failed_callback(shopper, sandbox, handler, Flow.SMS_OTP_ISSUER) == 500
    assert "secret" not in caplog.text
    assert "LookupError at " in caplog.text


async def test_a_function_rejects_with_a_reason(shopper: AsyncGatewayClient, sandbox: Sandbox) -> None:
    handler = CallbackHandler("refusing")

    @handler.deliver_otp
    async def refuse(request: DeliverOtpRequest, context: CallbackContext) -> DeliverOtpResponse:
        del request, context
        raise Refuse(CallbackRefusalReason.NOT_FOUND, "nobody of this name")

    assert await failed_callback(shopper, sandbox, handler, Flow.SMS_OTP_ISSUER) == 404
    with pytest.raises(ValueError, match="at most 256"):
        Refuse(CallbackRefusalReason.INVALID, "x" * 257)


async def test_a_reply_that_the_gateway_cannot_take_becomes_an_error_at_once(
    shopper: AsyncGatewayClient, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    handler = CallbackHandler("invalid")

    @handler.authenticate
    async def begin(request: AuthenticateConsumerRequest, context: CallbackContext) -> AuthenticateConsumerResponse:
        del request, context
        return AuthenticateConsumerResponse(authentication_id="not allowed: spaces")

    assert await failed_callback(shopper, sandbox, handler, Flow.OOB_ISSUER) == 500
    assert "authentication_id" in caplog.text


@pytest.mark.usefixtures("shopper")
async def test_a_callback_is_handled_once_though_the_link_breaks(running: Running) -> None:
    handler = Otps()
    handler.may_answer.clear()
    async with (
        Link.to(running.addresses.grpc) as link,
        AsyncGatewayClient(options_for(link.address, running.sandbox.pki)) as linked,
        handler.serving(linked),
    ):
        purchase = buy(running.sandbox, Flow.SMS_OTP_ISSUER)
        otp = await handler.sent.get()
        link.cut()
        while link.count < 2:  # noqa: ASYNC110 (a link sends no event)
            await asyncio.sleep(0.05)
        handler.may_answer.set()
        assert await finished(purchase, otp) is Status.SUCCESSFUL
    assert len(handler.contexts) == 1
    assert handler.sent.empty()


async def test_no_more_callbacks_are_handled_at_once_than_agreed(shopper: AsyncGatewayClient, running: Running) -> None:
    handler = CallbackHandler("two-at-once", max_in_flight=2)
    at_work: list[int] = [0, 0]

    @handler.deliver_otp
    async def send(request: DeliverOtpRequest, context: CallbackContext) -> DeliverOtpResponse:
        del request, context
        at_work[0] += 1
        at_work[1] = max(at_work)
        await asyncio.sleep(0.05)
        at_work[0] -= 1
        return DeliverOtpResponse()

    async with handler.serving(shopper):
        purchases = [buy(running.sandbox, Flow.SMS_OTP_ISSUER) for _ in range(10)]
        assert {await each.awaiting() for each in purchases} == {Status.AWAITS_OTP}
    assert at_work == [0, 2]


async def test_a_handler_drains_on_sigterm(shopper: AsyncGatewayClient, running: Running) -> None:
    handler = Otps()
    handler.may_answer.clear()
    serving = asyncio.create_task(handler.run(shopper))
    purchase = await bought_until_handled(running.sandbox, handler)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.2)
    handler.sent = asyncio.Queue()
    late = buy(running.sandbox, Flow.SMS_OTP_ISSUER)
    await asyncio.sleep(0.2)
    handler.may_answer.set()
    assert await purchase.awaiting() is Status.AWAITS_OTP
    await serving
    assert handler.sent.empty(), "a callback arrived after the drain"
    assert await late.done() is Status.FAILED


async def bought_until_handled(sandbox: Sandbox, handler: Otps) -> Purchase:
    """Buy, again after a failure, until the handler gets the callback of the purchase."""
    purchase = buy(sandbox, Flow.SMS_OTP_ISSUER)
    async with asyncio.timeout(40):
        while handler.sent.empty():
            if purchase.over:
                purchase = buy(sandbox, Flow.SMS_OTP_ISSUER)
            await asyncio.sleep(0.02)
    return purchase


async def test_a_handler_moves_on_when_its_gateway_drains(tmp_path: Path) -> None:
    handler = Otps()
    handler.may_answer.clear()
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start(tmp_path / "keys"))
        config = GatewayConfig.of(sandbox, tmp_path)
        gateway = await stack.enter_async_context(await GatewayProcess.start(config, tmp_path))
        sandbox.set_edge(gateway.edge)
        client = await stack.enter_async_context(AsyncGatewayClient(options_for(gateway.grpc, sandbox.pki)))
        await register(client)
        await stack.enter_async_context(handler.serving(client))
        purchase = buy(sandbox, Flow.SMS_OTP_ISSUER)
        first = await handler.sent.get()
        stopping = asyncio.create_task(gateway.stop())
        await asyncio.sleep(0.5)
        handler.may_answer.set()
        assert await purchase.awaiting() is Status.AWAITS_OTP, "the old stream was not kept"
        assert await stopping == 0

        next_one = replace(config, grpc_port=int(gateway.grpc.rpartition(":")[2]))
        successor = await stack.enter_async_context(await GatewayProcess.start(next_one, tmp_path))
        sandbox.set_edge(successor.edge)
        assert await finished(purchase, first) is Status.SUCCESSFUL
        again = await bought_until_handled(sandbox, handler)
        assert await finished(again, await handler.sent.get()) is Status.SUCCESSFUL


async def test_a_caller_without_the_grant_cannot_be_a_handler(running: Running) -> None:
    options = options_for(running.addresses.grpc, running.sandbox.pki, running.sandbox.pki.stranger)
    async with AsyncGatewayClient(options) as stranger:
        with pytest.raises(errors.PermissionDeniedError):
            await Otps().serve(stranger)
        with pytest.raises(errors.PermissionDeniedError):
            async with Otps().serving(stranger):
                pass


async def test_a_handler_without_functions_is_refused(client: AsyncGatewayClient) -> None:
    with pytest.raises(ValueError, match="has no function"):
        await CallbackHandler("idle").serve(client)
