"""Request ids across kills: a sent request is not sent again, and a reply is repeated."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.common.v1 import card_data_pb2
from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.d1.model.contract import Operation
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.e2e.watching import connect
from tests.running import failure_of

_D1_SECONDS = 2.0
_LEASE_SECONDS = _D1_SECONDS + 5.0
"""As the gateway reckons it."""


@pytest.fixture
async def gateway(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    sandbox.store.add_consumer("consumer_1")
    # It gives up on D1 early, so that what a dead gateway began is soon known to be over.
    impatient = replace(GatewayConfig.of(sandbox, tmp_path), more={"d1": {"total_timeout_seconds": _D1_SECONDS}})
    async with await GatewayProcess.start(impatient, tmp_path) as running:
        yield running


def _create() -> card.CreateCardRequest:
    account = card.Account(default=True, type="CURRENT", number="12345678", currency_code="EUR")
    return card.CreateCardRequest(
        request_id=str(uuid4()), consumer_id="consumer_1", card_product_id="full", accounts=[account]
    )


def _register() -> card.RegisterCardRequest:
    expiry = card_data_pb2.CardExpiry(month=12, year=2031)
    return card.RegisterCardRequest(
        request_id=str(uuid4()),
        card_id="card_1",
        consumer_id="consumer_1",
        card_product_id="light",
        credentials=card_data_pb2.CardCredentials(pan="4970101234567890", expiry=expiry),
    )


async def _held_by_d1(sandbox: Sandbox, call: "asyncio.Task[Any]") -> None:
    """Wait until D1 has the call and holds it."""
    async with asyncio.timeout(10):
        while sandbox.faults._pending:
            assert not call.done()
            await asyncio.sleep(0.01)


async def _killed_in_flight(
    sandbox: Sandbox, gateway: GatewayProcess, operation: Operation, rpc: Any, request: Any
) -> float:
    """Have the gateway killed between send and answer; D1 acts all the same. Returns when the call had begun."""
    sandbox.faults.add(Fault(operation=operation, latency_ms=300))
    began = time.time()
    call = asyncio.ensure_future(rpc(request, timeout=10))
    await _held_by_d1(sandbox, call)
    await gateway.restart()
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    return began


async def test_a_gateway_killed_between_request_and_response_does_not_send_again(
    sandbox: Sandbox, gateway: GatewayProcess
) -> None:
    request = _create()
    async with connect(gateway.grpc, sandbox.pki) as channel:
        began = await _killed_in_flight(
            sandbox, gateway, Operation.CREATE_CARD, CardServiceStub(channel).CreateCard, request
        )
    async with connect(gateway.grpc, sandbox.pki) as channel:
        cards = CardServiceStub(channel)
        failures = []
        async with asyncio.timeout(30):
            while True:
                asked = time.time()
                failure = await failure_of(cards.CreateCard(request, timeout=5))
                failures.append(failure.reason)
                if failure.reason != "REQUEST_IN_FLIGHT":
                    break
                assert asked < began + _LEASE_SECONDS + 1, "it is over by now"
                await asyncio.sleep(0.5)
        assert (failure.code, failure.reason, failure.outcome) == (
            grpc.StatusCode.UNKNOWN,
            "UPSTREAM_NO_ANSWER",
            "UNKNOWN",
        )
        assert time.time() >= began + _LEASE_SECONDS, "D1 may have been at it until then"
        assert len(sandbox.store.cards()) == 1, "D1 made the card, once"
        assert await cards.CreateCard(_create(), timeout=5) != card.CreateCardResponse(), "under a new id it is made"
    assert len(sandbox.store.cards()) == 2


async def test_an_idempotent_call_is_sent_again_after_a_kill(sandbox: Sandbox, gateway: GatewayProcess) -> None:
    request = _register()
    async with connect(gateway.grpc, sandbox.pki) as channel:
        began = await _killed_in_flight(
            sandbox, gateway, Operation.REGISTER_CARD, CardServiceStub(channel).RegisterCard, request
        )
    async with connect(gateway.grpc, sandbox.pki) as channel:
        cards = CardServiceStub(channel)
        await asyncio.sleep(max(0.0, began + _LEASE_SECONDS + 1 - time.time()))
        assert await cards.RegisterCard(request, timeout=5) == card.RegisterCardResponse()
    assert [each.card_id for each in sandbox.store.cards()] == ["card_1"]


async def test_a_completed_call_gets_the_same_reply_after_a_kill(sandbox: Sandbox, gateway: GatewayProcess) -> None:
    requests = [_create() for _ in range(10)]
    async with connect(gateway.grpc, sandbox.pki) as channel:
        first = [await CardServiceStub(channel).CreateCard(request, timeout=5) for request in requests]
        await gateway.restart()
    async with connect(gateway.grpc, sandbox.pki) as channel:
        again = [await CardServiceStub(channel).CreateCard(request, timeout=5) for request in requests]
    assert again == first
    assert len({reply.card_id for reply in first}) == len(sandbox.store.cards()) == len(requests)
