"""Faults on demand: to whom they happen, and how often.

That each call can fail, and what a broken connection leaves done, is in tests/contract/test_contract_d1_failures.py.
"""

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest

from sandbox.common.faults import Fault, Faults
from tests.integration.sandbox.sandbox_caller import Caller
from tests.integration.sandbox.sandbox_edge import until


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


async def test_d1_does_not_act_on_a_call_whose_error_is_truncated(faults: Faults, caller: Caller) -> None:
    await caller.register()
    faults.add(Fault(truncate=True, status=503, body="x" * 20))

    with pytest.raises(aiohttp.ClientPayloadError):
        await caller.operate("suspend", reasonCode="CARD_LOST")

    assert caller.state() == "ACTIVE"


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
