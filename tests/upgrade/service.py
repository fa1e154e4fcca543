"""An internal service: calls the gateway, watches notifications, handles callbacks, and prints what came of it.

A program of its own, which the tests start with the client of one release or another.
"""

import asyncio
import json

import d1_gateway_client
from d1_gateway_client import AsyncGatewayClient, CallbackContext, CallbackHandler
from d1_gateway_client.contracts.issuer.callback.v1 import DeliverOtpRequest, DeliverOtpResponse
from d1_gateway_client.contracts.issuer.card.v1 import RegisterCardRequest, ResumeCardRequest, SuspendCardRequest
from d1_gateway_client.contracts.issuer.common.v1 import CardCredentials, CardExpiry
from d1_gateway_client.contracts.issuer.notification.v1 import ResetSubscriptionRequest, StartPosition
from d1_gateway_client.contracts.issuer.threeds.v1 import ListThreeDsOperationsRequest
from d1_gateway_client.errors import NotAllowedError

_CARD = "card_of_service"
_SUBSCRIPTION = "service"

handler = CallbackHandler("service")
otps: list[str] = []


@handler.deliver_otp
async def deliver(request: DeliverOtpRequest, context: CallbackContext) -> DeliverOtpResponse:
    """Keep what D1 wants to have sent."""
    del context
    otps.append(request.otp)
    return DeliverOtpResponse()


async def call(client: AsyncGatewayClient) -> str:
    """Change a card there and back; return the reason for which its second suspension is refused."""
    credentials = CardCredentials(pan="4970101234567908", expiry=CardExpiry(month=12, year=2031))
    card = RegisterCardRequest(
        card_id=_CARD, consumer_id="consumer_1", card_product_id="light", credentials=credentials
    )
    await client.cards.register_card(card)
    await client.cards.suspend_card(SuspendCardRequest(card_id=_CARD, reason_code="USER_DECISION"))
    reason = "none"
    try:
        await client.cards.suspend_card(SuspendCardRequest(card_id=_CARD, reason_code="USER_DECISION"))
    except NotAllowedError as error:
        reason = error.reason.name
    await client.cards.resume_card(ResumeCardRequest(card_id=_CARD, reason_code="USER_DECISION"))
    await client.operations.list_three_ds_operations(ListThreeDsOperationsRequest(card_id=_CARD))
    return reason


async def main() -> None:
    """Work until the second notification."""
    async with AsyncGatewayClient() as client, handler.serving(client):
        reason = await call(client)
        reset = ResetSubscriptionRequest(subscription=_SUBSCRIPTION, position=StartPosition.EARLIEST)
        await client.notifications.reset_subscription(reset)
        print("serving", flush=True)  # noqa: T201
        operations = []
        async with client.notifications.watch(subscription=_SUBSCRIPTION) as watch:
            async for notification in watch:
                assert notification.three_ds_operation is not None
                operations.append(notification.three_ds_operation.operation_id)
                await watch.commit(notification)
                if len(operations) == 2:
                    break
        lags = [each.lag async for each in client.notifications.subscriptions()]
    result = {"client": d1_gateway_client.__file__, "reason": reason, "otps": otps, "operations": operations}
    print(json.dumps(result | {"lags": lags}))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
