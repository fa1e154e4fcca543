"""An upstream that is down for a while: callers get an error at once, and its return is noticed."""

import asyncio
import time
from collections import Counter

import grpc

from tests.fault.calls import CHANGES, QUERIES
from tests.fault.faulty import Faulty, at_once, recovery_seconds
from tests.running import Failure, failure_of

_OUTAGE_SECONDS = 4.0
_RECOVERY_SECONDS = 5.0


async def test_an_upstream_that_is_back_is_used_again_within_seconds(faulty: Faulty) -> None:
    await asyncio.gather(*(_outage(faulty, upstream) for upstream in QUERIES))


async def _outage(faulty: Faulty, upstream: str) -> None:
    wire, running = faulty.wire(upstream), faulty.running
    await wire.cut()

    reasons: Counter[str] = Counter()

    async def change_and_query() -> list[Failure]:
        failures = await asyncio.gather(*(failure_of(call[upstream](running)) for call in (CHANGES, QUERIES)))
        # Here, because `at_once` forgets what was slow, and only the first calls learn that nobody is there.
        reasons.update(failure.reason for failure in failures)
        return failures

    end = time.perf_counter() + _OUTAGE_SECONDS
    while time.perf_counter() < end:
        for failure in await at_once(change_and_query):
            assert (failure.code, failure.outcome) == (grpc.StatusCode.UNAVAILABLE, "NOT_SENT")
            assert failure.retry_seconds is not None
        await asyncio.sleep(0.05)
    assert set(reasons) == {"UPSTREAM_UNREACHABLE", "UPSTREAM_CIRCUIT_OPEN"}
    assert reasons["UPSTREAM_CIRCUIT_OPEN"] > reasons["UPSTREAM_UNREACHABLE"]
    assert wire.requests == []

    await wire.mend()
    assert await recovery_seconds(lambda: QUERIES[upstream](running)) < _RECOVERY_SECONDS
    await CHANGES[upstream](running)
    await asyncio.gather(*(QUERIES[upstream](running) for _ in range(20)))
