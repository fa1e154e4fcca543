"""An upstream that is down for a while: callers are told at once, and its return is found out by itself."""

import asyncio
import time
from collections import Counter

import grpc
import pytest

from tests.fault.calls import CHANGES, QUESTIONS
from tests.fault.faulty import SLACK_SECONDS, Faulty, recovery_seconds
from tests.running import failure_of

_OUTAGE_SECONDS = {"d1": 10.0, "threeds": 3.0}
_RECOVERY_SECONDS = 5.0


@pytest.mark.parametrize("upstream", ["d1", "threeds"])
async def test_an_upstream_that_is_back_is_used_again_within_seconds(faulty: Faulty, upstream: str) -> None:
    wire, running = faulty.wire(upstream), faulty.running
    await QUESTIONS[upstream](running)
    sent = len(wire.requests)
    await wire.cut()

    reasons: Counter[str] = Counter()
    end = time.perf_counter() + _OUTAGE_SECONDS[upstream]
    while time.perf_counter() < end:
        began = time.perf_counter()
        calls = (CHANGES[upstream], QUESTIONS[upstream])
        for failure in await asyncio.gather(*(failure_of(call(running)) for call in calls)):
            assert (failure.code, failure.outcome) == (grpc.StatusCode.UNAVAILABLE, "NOT_SENT")
            assert failure.retry_seconds is not None
            reasons[failure.reason] += 1
        assert time.perf_counter() - began < SLACK_SECONDS
        await asyncio.sleep(0.05)
    assert set(reasons) == {"UPSTREAM_UNREACHABLE", "UPSTREAM_CIRCUIT_OPEN"}
    assert reasons["UPSTREAM_CIRCUIT_OPEN"] > reasons["UPSTREAM_UNREACHABLE"]
    assert len(wire.requests) == sent

    await wire.mend()
    assert await recovery_seconds(lambda: QUESTIONS[upstream](running)) < _RECOVERY_SECONDS
    await CHANGES[upstream](running)
    await asyncio.gather(*(QUESTIONS[upstream](running) for _ in range(20)))
