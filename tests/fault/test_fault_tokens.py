"""Tokens: any number of concurrent calls make one token request to D1."""

import asyncio
from pathlib import Path

import pytest

from sandbox.common.faults import Fault
from tests.fault.calls import list_operations
from tests.fault.faulty import Faulty, faulty_gateway
from tests.running import failure_of

_STORM = 1_000
_SECONDS = 50.0


def _fetched(faulty: Faulty) -> int:
    return sum(request.path.endswith("/token") for request in faulty.d1.requests)


@pytest.mark.parametrize("expired", [True, False])
async def test_a_thousand_calls_without_a_good_token_fetch_one(tmp_path: Path, *, expired: bool) -> None:
    async with faulty_gateway(tmp_path, d1={"total_timeout_seconds": _SECONDS}) as faulty:
        if expired:
            await list_operations(faulty.running)
            faulty.sandbox.tokens.expire_all()
        before = _fetched(faulty)

        await asyncio.gather(*(list_operations(faulty.running, seconds=_SECONDS) for _ in range(_STORM)))

        assert _fetched(faulty) - before == 1


async def test_an_unavailable_token_is_requested_three_times_for_all_together(faulty: Faulty) -> None:
    faulty.sandbox.faults.add(Fault("getToken", status=503, headers={"Retry-After": "0"}, times=3))

    failures = await asyncio.gather(*(failure_of(list_operations(faulty.running)) for _ in range(50)))

    assert {(failure.reason, failure.outcome) for failure in failures} == {("UPSTREAM_UNAVAILABLE", "NOT_SENT")}
    assert _fetched(faulty) == 3
    await list_operations(faulty.running)


async def test_a_token_that_is_late_by_a_passing_fault_is_not_noticed(faulty: Faulty) -> None:
    faulty.sandbox.faults.add(Fault("getToken", status=503, headers={"Retry-After": "0"}))
    faulty.sandbox.faults.add(Fault("getToken", truncate=True))

    await list_operations(faulty.running)

    assert _fetched(faulty) == 3
