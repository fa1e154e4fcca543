"""Calls of CardService as an internal service makes them."""

import asyncio

import grpc

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.common.v1 import card_data_pb2
from sandbox import Sandbox

__all__ = ["register", "suspend", "until_held"]

_SECONDS = 10.0


async def register(
    channel: grpc.aio.Channel, card_id: str, *, consumer_id: str = "consumer_1", pan: str = "4970101234567890"
) -> card.RegisterCardResponse:
    """Register a card at D1."""
    expiry = card_data_pb2.CardExpiry(month=12, year=2031)
    request = card.RegisterCardRequest(
        card_id=card_id,
        consumer_id=consumer_id,
        card_product_id="light",
        credentials=card_data_pb2.CardCredentials(pan=pan, expiry=expiry),
    )
    return await CardServiceStub(channel).RegisterCard(request, timeout=_SECONDS)


async def suspend(channel: grpc.aio.Channel, card_id: str, *, seconds: float = _SECONDS) -> card.SuspendCardResponse:
    """Suspend a card at D1."""
    request = card.SuspendCardRequest(card_id=card_id, reason_code=card.SUSPEND_REASON_USER_DECISION)
    return await CardServiceStub(channel).SuspendCard(request, timeout=seconds)


async def until_held(sandbox: Sandbox) -> None:
    """Wait until D1 has a call that meets the fault that was added."""
    async with asyncio.timeout(_SECONDS):
        while sandbox.faults._pending:  # noqa: ASYNC110 - a fault taken sets no event
            await asyncio.sleep(0.01)
