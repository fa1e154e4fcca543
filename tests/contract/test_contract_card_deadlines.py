"""CardService: no call exceeds its deadline, and each still reports its outcome."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.d1.model.contract import CardState, Operation
from tests.contract.card_rpcs import RPCS, Rpc, prepare
from tests.running import Failure, Running, failure_of, running_gateway, settings_for

_HANGS = 30_000
"""The longest time that the simulator may hold a call, in milliseconds."""
_OVERHEAD_SECONDS = 2.0
"""A margin for a busy machine, in seconds."""


async def _late(running: Running, rpc: Rpc, deadline: float, *, sent: bool) -> Failure:
    began = time.perf_counter()
    failure = await failure_of(rpc.call(running, timeout=deadline))
    assert time.perf_counter() - began < deadline + _OVERHEAD_SECONDS
    assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert failure.outcome == ("UNKNOWN" if sent else "NOT_SENT")
    return failure


async def test_a_deadline_that_passes_while_d1_works_leaves_the_outcome_unknown(running: Running) -> None:
    before = running.sandbox.store.cards()
    for rpc in RPCS.values():
        running.sandbox.faults.add(Fault(rpc.operation, latency_ms=_HANGS))
    failures = await asyncio.gather(*(_late(running, rpc, 1.0, sent=True) for rpc in RPCS.values()))
    assert [failure.retry_seconds for failure in failures] == [None] * len(RPCS)
    assert running.sandbox.store.cards() == before


async def test_a_deadline_that_passes_while_the_token_is_fetched_sends_nothing(running: Running) -> None:
    running.sandbox.faults.add(Fault(Operation.GET_TOKEN, latency_ms=_HANGS))
    for rpc in RPCS.values():
        running.sandbox.faults.add(Fault(rpc.operation, status=500))
    await asyncio.gather(*(_late(running, rpc, 1.0, sent=False) for rpc in RPCS.values()))
    assert all(running.sandbox.faults.take(rpc.operation) for rpc in RPCS.values())


async def test_a_token_that_comes_slowly_serves_the_calls_that_still_wait(running: Running) -> None:
    running.sandbox.faults.add(Fault(Operation.GET_TOKEN, latency_ms=1_500))
    patient = asyncio.create_task(RPCS["SuspendCard"].call(running))
    await _late(running, RPCS["DeleteCard"], 0.5, sent=False)
    await patient
    assert running.sandbox.store.card("card-active").state is CardState.SUSPENDED


async def test_without_a_deadline_the_gateways_own_limit_holds(sandbox: Sandbox, tmp_path: Path) -> None:
    for rpc in RPCS.values():
        sandbox.faults.add(Fault(rpc.operation, latency_ms=_HANGS))
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path, d1_timeout_seconds=0.5)) as running:
        began = time.perf_counter()
        calls = (failure_of(rpc.call(running, timeout=None)) for rpc in RPCS.values())
        failures = await asyncio.gather(*calls)
        assert 0.5 <= time.perf_counter() - began < 0.5 + _OVERHEAD_SECONDS
    seen = {(failure.reason, failure.outcome) for failure in failures}
    assert seen == {("DEADLINE_EXCEEDED", "UNKNOWN")}


async def test_a_slow_call_holds_up_no_other_one(running: Running) -> None:
    await RPCS["ResumeCard"].call(running)
    running.sandbox.faults.add(Fault(Operation.DELETE_CARD, latency_ms=_HANGS))
    slow = asyncio.create_task(failure_of(RPCS["DeleteCard"].call(running, timeout=5.0)))
    await RPCS["SuspendCard"].call(running, timeout=4.0)
    assert not slow.done()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow


async def test_a_d1_that_was_never_there_is_unreachable(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "keys") as gone:
        used = settings_for(gone, tmp_path)
    async with running_gateway(gone, used) as running:
        await _unreachable(running)


async def test_a_d1_that_went_away_is_unreachable(tmp_path: Path) -> None:
    async with AsyncExitStack() as d1:
        sandbox = await d1.enter_async_context(Sandbox.start(tmp_path / "keys"))
        prepare(sandbox.store)
        async with running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running:
            await RPCS["ResumeCard"].call(running)
            await d1.aclose()
            before = sandbox.store.cards()
            await _unreachable(running)
            assert sandbox.store.cards() == before


async def _unreachable(running: Running) -> None:
    for rpc in RPCS.values():
        began = time.perf_counter()
        failure = await failure_of(rpc.call(running))
        assert time.perf_counter() - began < _OVERHEAD_SECONDS
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNREACHABLE")
        assert (failure.outcome, failure.retry_seconds) == ("NOT_SENT", 1.0)
