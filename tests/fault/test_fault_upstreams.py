"""Every failure of a call between the gateway and an upstream: its retries, and the caller's error."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from sandbox.common.faults import Drop, Fault
from sandbox.common.tls import browser_context, server_context
from tests.fault.calls import CHANGES, QUESTIONS, register, suspend
from tests.fault.faulty import SLACK_SECONDS, Faulty, faulty_gateway
from tests.fault.wire import Wire
from tests.running import Failure, failure_of

_Code = grpc.StatusCode
_OPERATIONS = {"d1": ("suspendCard", "list3dsOperations"), "threeds": ("auth", "preauth")}
"""What `CHANGES` and `QUESTIONS` call."""
_ATTEMPTS = 3
every_upstream = pytest.mark.parametrize("upstream", ["d1", "threeds"])


def _told(failure: Failure) -> tuple[grpc.StatusCode, str, str]:
    return failure.code, failure.reason, failure.outcome


def _sent(faulty: Faulty, upstream: str) -> int:
    """How many requests passed, apart from those for tokens."""
    return sum(not request.path.endswith("/token") for request in faulty.wire(upstream).requests)


@every_upstream
async def test_a_slow_response_is_awaited_and_not_retried(faulty: Faulty, upstream: str) -> None:
    for operation in _OPERATIONS[upstream]:
        faulty.sandbox.faults.add(Fault(operation, latency_ms=1_000))

    await asyncio.gather(CHANGES[upstream](faulty.running), QUESTIONS[upstream](faulty.running))

    assert _sent(faulty, upstream) == 2


@every_upstream
async def test_a_refused_connection_is_tried_again_and_nothing_was_sent(faulty: Faulty, upstream: str) -> None:
    await faulty.wire(upstream).cut()
    for call in (CHANGES[upstream], QUESTIONS[upstream]):
        began = time.perf_counter()
        failure = await failure_of(call(faulty.running))
        took = time.perf_counter() - began
        assert _told(failure) == (_Code.UNAVAILABLE, "UPSTREAM_UNREACHABLE", "NOT_SENT")
        # Two pauses, of 50 ms and 100 ms at least.
        assert 0.15 <= took < SLACK_SECONDS
    assert _sent(faulty, upstream) == 0


@every_upstream
async def test_a_connection_that_is_refused_for_a_moment_only_is_not_noticed(faulty: Faulty, upstream: str) -> None:
    # The token is there already.
    await QUESTIONS[upstream](faulty.running)
    wire = faulty.wire(upstream)
    await wire.cut()
    call = asyncio.create_task(CHANGES[upstream](faulty.running))
    await asyncio.sleep(0.1)
    await wire.mend()

    await call

    assert _sent(faulty, upstream) == 2


@every_upstream
@pytest.mark.parametrize("fault", [Fault(drop=Drop.BEFORE), Fault(drop=Drop.AFTER), Fault(truncate=True)], ids=repr)
async def test_a_reset_is_reported_for_a_change_and_not_noticed_for_a_read(
    faulty: Faulty, upstream: str, fault: Fault
) -> None:
    for operation in _OPERATIONS[upstream]:
        faulty.sandbox.faults.add(Fault(operation, drop=fault.drop, truncate=fault.truncate))

    failure = await failure_of(CHANGES[upstream](faulty.running))
    assert _told(failure) == (_Code.UNKNOWN, "UPSTREAM_NO_ANSWER", "UNKNOWN")
    assert _sent(faulty, upstream) == 1

    await QUESTIONS[upstream](faulty.running)
    assert _sent(faulty, upstream) == 3


@every_upstream
async def test_a_response_too_large_is_refused_and_nothing_is_retried(faulty: Faulty, upstream: str) -> None:
    for call, operation in zip((CHANGES, QUESTIONS), _OPERATIONS[upstream], strict=True):
        faulty.sandbox.faults.add(Fault(operation, status=200, body="x" * 2_000_000))
        failure = await failure_of(call[upstream](faulty.running))
        assert _told(failure) == (_Code.INTERNAL, "UPSTREAM_CONTRACT", "UNKNOWN")
    assert _sent(faulty, upstream) == 2


@every_upstream
async def test_an_upstream_of_another_authority_gets_nothing(faulty: Faulty, upstream: str, tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    async with faulty_gateway(elsewhere) as stranger:
        pki = stranger.sandbox.pki
        identity = pki.d1_server if upstream == "d1" else pki.threeds_server
        wire = faulty.wire(upstream)
        await wire.cut()
        impostor = Wire(0, server_context(identity), browser_context(pki.server_ca))
        impostor.port = wire.port
        await impostor.mend()
        for call in (CHANGES[upstream], QUESTIONS[upstream]):
            failure = await failure_of(call(faulty.running))
            assert _told(failure) == (_Code.UNAVAILABLE, "UPSTREAM_UNREACHABLE", "NOT_SENT")
            assert "certificate" in failure.message
        await impostor.cut()
    assert impostor.requests == wire.requests == []


@every_upstream
async def test_a_retry_after_is_honoured(faulty: Faulty, upstream: str) -> None:
    operation = _OPERATIONS[upstream][1]
    # HTTP knows no parts of a second: at least 1 s, at most 2.
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    faulty.sandbox.faults.add(Fault(operation, status=429, headers={"Retry-After": "1"}))
    faulty.sandbox.faults.add(Fault(operation, status=503, headers={"Retry-After": date}))
    began = time.perf_counter()

    await QUESTIONS[upstream](faulty.running)

    assert time.perf_counter() - began >= 2
    assert _sent(faulty, upstream) == _ATTEMPTS


@every_upstream
async def test_a_retry_after_beyond_the_deadline_is_reported_at_once(faulty: Faulty, upstream: str) -> None:
    faulty.sandbox.faults.add(Fault(_OPERATIONS[upstream][1], status=503, headers={"Retry-After": "4"}))
    began = time.perf_counter()

    failure = await failure_of(QUESTIONS[upstream](faulty.running, seconds=3.0))

    assert time.perf_counter() - began < SLACK_SECONDS
    assert _told(failure) == (_Code.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", "REJECTED")
    assert failure.retry_seconds == 4
    assert _sent(faulty, upstream) == 1


@every_upstream
@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_change_with_a_response_is_not_made_again(faulty: Faulty, upstream: str, status: int) -> None:
    faulty.sandbox.faults.add(Fault(_OPERATIONS[upstream][0], status=status, headers={"Retry-After": "0"}))

    failure = await failure_of(CHANGES[upstream](faulty.running))

    assert failure.metadata["upstream_status"] == str(status)
    assert _sent(faulty, upstream) == 1


async def test_an_idempotent_change_is_retried(faulty: Faulty) -> None:
    correlation_id = uuid4().hex
    faulty.sandbox.faults.add(Fault("registerCard", status=503, headers={"Retry-After": "0"}))
    faulty.sandbox.faults.add(Fault("registerCard", truncate=True))

    await register(faulty.running, correlation_id)

    assert faulty.d1.counts("PUT") == {correlation_id: _ATTEMPTS}


async def test_a_lost_response_is_reported_even_if_the_retry_finds_no_connection(faulty: Faulty) -> None:
    faulty.sandbox.faults.add(Fault("registerCard", truncate=True, latency_ms=300))
    call = asyncio.create_task(failure_of(register(faulty.running)))
    async with asyncio.timeout(SLACK_SECONDS):
        while not faulty.d1.counts("PUT"):  # noqa: ASYNC110 - a request that passes sets no event
            await asyncio.sleep(0.01)
    await faulty.d1.cut()

    assert _told(await call) == (_Code.UNKNOWN, "UPSTREAM_NO_ANSWER", "UNKNOWN")


async def test_calls_beyond_the_admission_queue_are_refused_at_once_and_the_others_served(tmp_path: Path) -> None:
    async with faulty_gateway(tmp_path, d1={"max_connections": 2, "max_waiting_requests": 3}) as faulty:
        await QUESTIONS["d1"](faulty.running)
        faulty.sandbox.faults.add(Fault("list3dsOperations", latency_ms=1_000, times=2))
        began = time.perf_counter()
        calls = [asyncio.create_task(QUESTIONS["d1"](faulty.running)) for _ in range(10)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert time.perf_counter() - began < 1
        results = await asyncio.gather(*(failure_of(call) for call in calls), return_exceptions=True)

    refused = [failure for failure in results if isinstance(failure, Failure)]
    assert len(refused) == 10 - 2 - 3
    for failure in refused:
        assert _told(failure) == (_Code.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS", "NOT_SENT")
        assert (failure.retry_seconds, failure.metadata["upstream"]) == (1.0, "d1")


async def test_a_call_queued_past_its_deadline_was_not_sent(tmp_path: Path) -> None:
    async with faulty_gateway(tmp_path, d1={"max_connections": 1}) as faulty:
        await QUESTIONS["d1"](faulty.running)
        faulty.sandbox.faults.add(Fault("list3dsOperations", latency_ms=2_000))
        slow = asyncio.create_task(QUESTIONS["d1"](faulty.running))
        await asyncio.sleep(0.3)
        failure = await failure_of(suspend(faulty.running, seconds=0.5))
        await slow

    assert _told(failure) == (_Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "NOT_SENT")
    assert faulty.d1.counts("POST", "suspend") == {}
