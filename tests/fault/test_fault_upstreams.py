"""Every failure of a call between the gateway and an upstream: its retries, and the caller's error."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from sandbox.common.faults import Drop, Fault
from sandbox.common.pki import make_pki
from sandbox.common.tls import browser_context, server_context
from tests.fault.calls import CHANGES, QUERIES, register, suspend
from tests.fault.faulty import Faulty, at_once, faulty_gateway, until
from tests.fault.wire import Wire
from tests.running import Failure, failure_of

_Code = grpc.StatusCode
_OPERATIONS = {"d1": ("suspendCard", "list3dsOperations"), "threeds": ("auth", "preauth")}
"""What `CHANGES` and `QUERIES` call."""
_ATTEMPTS = 3
_UNREACHABLE = (_Code.UNAVAILABLE, "UPSTREAM_UNREACHABLE", "NOT_SENT")
_NO_ANSWER = (_Code.UNKNOWN, "UPSTREAM_NO_RESPONSE", "UNKNOWN")
every_upstream = pytest.mark.parametrize("upstream", ["d1", "threeds"])


@pytest.fixture(scope="module")
async def narrow_of_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faulty]:
    narrow = {"max_connections": 1, "max_waiting_requests": 3}
    async with faulty_gateway(tmp_path_factory.mktemp("narrow"), d1=narrow) as started:
        yield started


@pytest.fixture
async def narrow(narrow_of_module: Faulty) -> Faulty:
    """A gateway with one connection to D1, for which three calls may wait."""
    await narrow_of_module.recover()
    return narrow_of_module


@every_upstream
async def test_a_refused_connection_is_tried_again_and_nothing_was_sent(new_gateway: Faulty, upstream: str) -> None:
    await new_gateway.wire(upstream).cut()
    for call in (CHANGES[upstream], QUERIES[upstream]):
        began = time.perf_counter()
        failure = await at_once(lambda call=call: failure_of(call(new_gateway.running)))  # type: ignore[misc]
        # Two pauses, of 50 ms and 100 ms at least.
        assert time.perf_counter() - began >= 0.15
        assert failure.error[:3] == _UNREACHABLE
    assert new_gateway.sent(upstream) == 0


@every_upstream
async def test_a_connection_that_is_refused_for_a_moment_only_is_not_noticed(faulty: Faulty, upstream: str) -> None:
    wire = faulty.wire(upstream)
    await wire.cut()
    call = asyncio.create_task(CHANGES[upstream](faulty.running))
    await asyncio.sleep(0.1)
    await wire.mend()

    await call

    assert faulty.sent(upstream) == 1


@every_upstream
@pytest.mark.parametrize("fault", [Fault(drop=Drop.BEFORE), Fault(drop=Drop.AFTER), Fault(truncate=True)], ids=repr)
async def test_a_reset_is_reported_for_a_change_and_not_noticed_for_a_read(
    faulty: Faulty, upstream: str, fault: Fault
) -> None:
    for operation in _OPERATIONS[upstream]:
        faulty.sandbox.faults.add(Fault(operation, drop=fault.drop, truncate=fault.truncate))

    failure = await failure_of(CHANGES[upstream](faulty.running))
    assert failure.error[:3] == _NO_ANSWER
    assert faulty.sent(upstream) == 1

    await QUERIES[upstream](faulty.running)
    assert faulty.sent(upstream) == 3


@every_upstream
async def test_a_response_too_large_is_refused_and_nothing_is_retried(faulty: Faulty, upstream: str) -> None:
    for call, operation in zip((CHANGES, QUERIES), _OPERATIONS[upstream], strict=True):
        faulty.sandbox.faults.add(Fault(operation, status=200, body="x" * 2_000_000))
        failure = await failure_of(call[upstream](faulty.running))
        assert failure.error[:3] == (_Code.INTERNAL, "UPSTREAM_CONTRACT", "UNKNOWN")
    assert faulty.sent(upstream) == 2


@every_upstream
async def test_an_upstream_of_another_authority_gets_nothing(faulty: Faulty, upstream: str, tmp_path: Path) -> None:
    pki = make_pki(tmp_path)
    identity = pki.d1_server if upstream == "d1" else pki.threeds_server
    wire = faulty.wire(upstream)
    await wire.cut()
    impostor = Wire(0, server_context(identity), browser_context(pki.server_ca))
    impostor.port = wire.port
    await impostor.mend()
    for call in (CHANGES[upstream], QUERIES[upstream]):
        failure = await failure_of(call(faulty.running))
        assert failure.error[:3] == _UNREACHABLE
        assert "certificate" in failure.message
    await impostor.cut()
    assert impostor.requests == wire.requests == []


async def test_a_retry_after_is_honoured(faulty: Faulty) -> None:
    # HTTP dates have no parts of a second: at least 1 s, at most 2.
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    for _, query in _OPERATIONS.values():
        faulty.sandbox.faults.add(Fault(query, status=429, headers={"Retry-After": "1"}))
        faulty.sandbox.faults.add(Fault(query, status=503, headers={"Retry-After": date}))

    async def took(upstream: str) -> float:
        began = time.perf_counter()
        await QUERIES[upstream](faulty.running)
        return time.perf_counter() - began

    assert min(await asyncio.gather(*map(took, QUERIES))) >= 2
    assert (faulty.sent("d1"), faulty.sent("threeds")) == (_ATTEMPTS, _ATTEMPTS)


async def test_an_idempotent_change_is_retried(faulty: Faulty) -> None:
    correlation_id = uuid4().hex
    faulty.sandbox.faults.add(Fault("registerCard", status=503, headers={"Retry-After": "0"}))
    faulty.sandbox.faults.add(Fault("registerCard", truncate=True))

    await register(faulty.running, correlation_id)

    assert faulty.d1.counts("PUT") == {correlation_id: _ATTEMPTS}


async def test_a_lost_response_is_reported_even_if_the_retry_finds_no_connection(faulty: Faulty) -> None:
    faulty.sandbox.faults.add(Fault("registerCard", truncate=True, latency_ms=300))
    call = asyncio.create_task(failure_of(register(faulty.running)))
    await until(lambda: bool(faulty.d1.counts("PUT")))
    await faulty.d1.cut()

    assert (await call).error[:3] == _NO_ANSWER


async def test_calls_beyond_the_admission_queue_are_refused_at_once_and_the_others_served(narrow: Faulty) -> None:
    narrow.sandbox.faults.add(Fault("list3dsOperations", latency_ms=1_000))
    calls = [asyncio.create_task(QUERIES["d1"](narrow.running)) for _ in range(10)]
    first, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert all(call.exception() for call in first)
    results = await asyncio.gather(*map(failure_of, calls), return_exceptions=True)

    refused = [failure for failure in results if isinstance(failure, Failure)]
    assert len(refused) == 10 - 1 - 3
    for failure in refused:
        assert failure.error[:3] == (_Code.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS", "NOT_SENT")
        assert (failure.retry_seconds, failure.metadata["upstream"]) == (1.0, "d1")


async def test_a_call_queued_past_its_deadline_was_not_sent(narrow: Faulty) -> None:
    narrow.sandbox.faults.add(Fault("list3dsOperations", latency_ms=2_500))
    slow = asyncio.create_task(QUERIES["d1"](narrow.running))
    await until(lambda: narrow.sent() == 1)
    failure = await failure_of(suspend(narrow.running, seconds=1.5))
    await slow

    assert failure.error[:3] == (_Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "NOT_SENT")
    assert narrow.d1.counts("POST", "suspend") == {}
