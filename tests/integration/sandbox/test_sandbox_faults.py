"""Faults on demand: to whom they happen, how often, and what they leave done."""

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest

from sandbox.common.faults import Drop, Fault, Faults
from sandbox.d1.model.contract import Operation
from tests.integration.sandbox.sandbox_caller import Caller
from tests.integration.sandbox.sandbox_edge import until

NEITHER_TOKEN_NOR_CARD = (
    ("GET", "v1/issuers/{issuer}/cards/c/3ds/operations"),
    ("GET", "v1/issuers/{issuer}/cards/c/3ds/operations/o"),
    ("POST", "v1/issuers/{issuer}/appinstances/a/authncredentials/operations:delete"),
    ("PUT", "v2/issuers/{issuer}/consumers/c"),
    ("POST", "v1/issuers/{issuer}/consumers/c/operations:delete"),
)


@pytest.fixture
def faults(caller: Caller) -> Iterator[Faults]:
    yield caller.sandbox.faults
    caller.sandbox.faults.clear()


async def test_faults_happen_in_order_and_as_often_as_set_to_their_operation(faults: Faults, caller: Caller) -> None:
    faults.add(Fault("deleteCard", status=503))
    faults.add(Fault("registerCard", times=2, status=500))
    faults.add(Fault(status=429))
    faults.add(Fault("deleteCard", times=100, status=500))

    assert [(await caller.register()).status for _ in range(4)] == [500, 500, 429, 204]
    assert (await caller.operate("delete", reasonCode="CLOSED_CARD")).status == 503
    faults.clear()
    assert (await caller.operate("delete", reasonCode="CLOSED_CARD")).status == 204


async def test_every_operation_can_be_made_to_fail(faults: Faults, caller: Caller) -> None:
    for operation in Operation:
        faults.add(Fault(operation.value, status=503))

    responses = [await caller.get_token(), await caller.create(), await caller.register("c")]
    responses += [await caller.operate(verb, "c") for verb in ("renew", "replace", "delete", "suspend", "resume")]
    responses += [await caller.call(method, path) for method, path in NEITHER_TOKEN_NOR_CARD]

    assert [response.status for response in responses] == [503] * len(Operation)
    assert (await caller.get_token()).status == 200


@pytest.mark.parametrize(
    ("fault", "error", "state"),
    [
        (Fault(drop=Drop.BEFORE), aiohttp.ClientConnectionError, "ACTIVE"),
        (Fault(drop=Drop.AFTER), aiohttp.ClientConnectionError, "SUSPENDED"),
        (Fault(truncate=True), aiohttp.ClientPayloadError, "SUSPENDED"),
        (Fault(truncate=True, status=503, body="x" * 20), aiohttp.ClientPayloadError, "ACTIVE"),
    ],
)
async def test_a_connection_breaks_before_or_after_the_call_is_acted_on(
    faults: Faults, caller: Caller, fault: Fault, error: type[Exception], state: str
) -> None:
    await caller.register()
    faults.add(fault)

    with pytest.raises(error):
        await caller.operate("suspend", reasonCode="CARD_LOST")

    assert caller.state() == state


async def test_a_delay_holds_one_call_alone_which_is_done_though_its_caller_has_gone(
    faults: Faults, caller: Caller
) -> None:
    loop = asyncio.get_running_loop()
    faults.add(Fault("registerCard", latency_ms=2_000))
    start = loop.time()
    held = asyncio.create_task(caller.register())
    await until(lambda: not faults._pending)

    assert (await caller.get_token()).status == 200
    assert (held.done(), caller.cards()) == (False, [])
    held.cancel()
    await until(caller.cards)

    assert loop.time() - start >= 2
    assert held.cancelled()
