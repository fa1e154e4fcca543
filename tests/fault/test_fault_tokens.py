"""Tokens: any number of concurrent calls make one token request to D1."""

import asyncio
from pathlib import Path

from sandbox.common.faults import Fault
from tests.fault.calls import list_operations
from tests.fault.faulty import Faulty, faulty_gateway
from tests.running import failure_of

_STORM = 300
_SECONDS = 50.0


async def test_hundreds_of_calls_without_a_good_token_fetch_one(tmp_path: Path) -> None:
    async with faulty_gateway(tmp_path, d1={"total_timeout_seconds": _SECONDS}) as faulty:

        async def storm() -> int:
            before = faulty.tokens_requested
            await asyncio.gather(*(list_operations(faulty.running, seconds=_SECONDS) for _ in range(_STORM)))
            return faulty.tokens_requested - before

        assert await storm() == 1
        faulty.sandbox.tokens.expire_all()
        assert await storm() == 1


async def test_an_unavailable_token_is_requested_three_times_for_all_together(new_gateway: Faulty) -> None:
    new_gateway.sandbox.faults.add(Fault("getToken", status=503, headers={"Retry-After": "0"}, times=3))

    calls = [asyncio.create_task(list_operations(new_gateway.running)) for _ in range(50)]
    await asyncio.wait(calls)

    failures = [await failure_of(call) for call in calls if call.exception() is not None]
    assert {(failure.reason, failure.outcome) for failure in failures} == {("UPSTREAM_UNAVAILABLE", "NOT_SENT")}
    # Calls that come after the third request, on a busy machine, share a fourth.
    assert new_gateway.tokens_requested == (3 if len(failures) == len(calls) else 4)
    await list_operations(new_gateway.running)


async def test_a_token_that_is_late_by_a_passing_fault_is_not_noticed(new_gateway: Faulty) -> None:
    new_gateway.sandbox.faults.add(Fault("getToken", status=503, headers={"Retry-After": "0"}))
    new_gateway.sandbox.faults.add(Fault("getToken", truncate=True))

    await list_operations(new_gateway.running)

    assert new_gateway.tokens_requested == 3
