"""The circuit breaker of each upstream, as callers see it."""

import asyncio
from pathlib import Path

import grpc
import pytest

from sandbox.common.faults import Fault
from tests.fault.calls import CHANGES, QUERIES
from tests.fault.faulty import Faulty, faulty_gateway, recovery_seconds, until
from tests.running import Failure, failure_of

_FAILURES = 10
"""The default."""
_OPEN = (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_CIRCUIT_OPEN", "NOT_SENT")
_OPERATIONS = {"d1": "suspendCard", "threeds": "auth"}
every_upstream = pytest.mark.parametrize("upstream", ["d1", "threeds"])


async def _failure(faulty: Faulty, upstream: str) -> Failure:
    return await failure_of(CHANGES[upstream](faulty.running))


async def _fail(faulty: Faulty, upstream: str, times: int, status: int = 500) -> None:
    faulty.sandbox.faults.add(Fault(_OPERATIONS[upstream], status=status, times=times))
    for _ in range(times):
        assert (await _failure(faulty, upstream)).metadata["upstream_status"] == str(status)


@every_upstream
async def test_after_failures_in_a_row_nothing_is_sent_to_this_upstream_until_the_pause_is_over(
    faulty: Faulty, upstream: str
) -> None:
    await _fail(faulty, upstream, _FAILURES)
    sent = len(faulty.wire(upstream).requests)

    failure = await _failure(faulty, upstream)
    assert failure.error[:3] == _OPEN
    assert failure.retry_seconds is not None
    assert 0 < failure.retry_seconds <= 0.5
    assert len(faulty.wire(upstream).requests) == sent
    await QUERIES["threeds" if upstream == "d1" else "d1"](faulty.running)

    await asyncio.sleep(failure.retry_seconds)
    await CHANGES[upstream](faulty.running)
    await QUERIES[upstream](faulty.running)


@every_upstream
async def test_client_errors_open_nothing(faulty: Faulty, upstream: str) -> None:
    for status in (400, 403, 404, 409, 429):
        await _fail(faulty, upstream, _FAILURES, status)

        await QUERIES[upstream](faulty.running)


async def test_an_erro_opens_nothing_whatever_its_status(faulty: Faulty) -> None:
    erro = '{"messageType":"Erro","messageVersion":"2.2.0","errorCode":"405","errorComponent":"S"}'
    faulty.sandbox.faults.add(Fault("auth", status=500, body=erro, times=2 * _FAILURES))
    for _ in range(2 * _FAILURES):
        assert (await _failure(faulty, "threeds")).reason == "THREE_DS_TIMED_OUT"

    await CHANGES["threeds"](faulty.running)


async def test_deadlines_too_short_for_any_upstream_open_nothing(faulty: Faulty) -> None:
    faulty.sandbox.faults.add(Fault("auth", latency_ms=400, times=2 * _FAILURES))
    calls = (CHANGES["threeds"](faulty.running, seconds=0.3) for _ in range(2 * _FAILURES))
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, grpc.aio.AioRpcError)
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    await CHANGES["threeds"](faulty.running)


async def test_while_it_is_open_one_call_tries_and_the_others_fail_at_once(tmp_path: Path) -> None:
    async with faulty_gateway(tmp_path, circuit_failures=1) as faulty:
        await _fail(faulty, "d1", 1)
        sent = len(faulty.d1.requests)
        await asyncio.sleep(0.6)
        faulty.sandbox.faults.add(Fault("suspendCard", latency_ms=800))
        trying = asyncio.create_task(CHANGES["d1"](faulty.running))
        await until(lambda: len(faulty.d1.requests) > sent)
        assert [(await _failure(faulty, "d1")).error[:3] for _ in range(3)] == [_OPEN] * 3
        await trying
        assert len(faulty.d1.requests) == sent + 1
        await QUERIES["d1"](faulty.running)


@every_upstream
async def test_a_silent_upstream_opens_the_circuit_which_closes_when_it_is_back(tmp_path: Path, upstream: str) -> None:
    impatient = {"connect_timeout_seconds": 0.3, "total_timeout_seconds": 0.6}
    async with faulty_gateway(tmp_path, d1=impatient, threeds=impatient, circuit_failures=3) as faulty:
        await QUERIES[upstream](faulty.running)
        faulty.wire(upstream).is_stalled = True
        failures = [await _failure(faulty, upstream) for _ in range(4)]
        assert [failure.reason for failure in failures[:3]] == ["DEADLINE_EXCEEDED"] * 3
        assert failures[3].error[:3] == _OPEN

        await faulty.wire(upstream).mend()
        assert await recovery_seconds(lambda: QUERIES[upstream](faulty.running)) < 5
