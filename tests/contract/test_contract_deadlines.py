"""No call of D1 or of the 3DS server hangs or exceeds its deadline, and each still reports its outcome."""

import asyncio
import itertools
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import grpc
import pytest

from issuer.threeds.v1 import messages_pb2 as threeds
from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.d1.model.contract import CardState
from sandbox.d1.model.contract import Operation as D1Operation
from sandbox.threeds.contract import Operation
from sandbox.threeds.transaction import Phase
from tests.contract.areqs import pan_of
from tests.contract.authenticating import Arrivals, Authenticating, authenticating_in, with_threeds
from tests.contract.card_rpcs import RPCS, Rpc
from tests.contract.consumer_rpcs import known
from tests.contract.d1_rpcs import D1_RPCS, LOOKUPS, THREEDS_RPCS, UPSTREAM_RPCS, make_ready
from tests.running import Running, failure_of, running_gateway, settings_for

_HANGS = 30_000
"""The longest time that the simulator may hold a call, in milliseconds; longer than any call's deadline."""
_TICK_SECONDS = 0.01
_PAUSE_SECONDS = 0.05
"""A pause of the process after which a reply may come too late: it has 100 ms for its way back."""


def _held(operation: str, times: int = 1) -> Fault:
    """Hold a call, which has no effect when the hold ends."""
    return Fault(operation, latency_ms=_HANGS, status=503, times=times)


class _Pauses:
    """Measures the longest pause of the event loop while it is entered, in seconds."""

    longest = 0.0

    async def _measure(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(_TICK_SECONDS)
            self.longest = max(self.longest, time.perf_counter() - began - _TICK_SECONDS)

    async def __aenter__(self) -> Self:
        self._measuring = asyncio.create_task(self._measure())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._measuring.cancel()
        await asyncio.gather(self._measuring, return_exceptions=True)


async def _late(running: Running, rpc: Rpc, deadline: float, *, sent: bool) -> None:
    async with _Pauses() as pauses:
        try:
            failure = await failure_of(rpc.call(running, timeout=deadline))
        except AssertionError as error:
            # Caller and gateway share this process. If it pauses, grpc ends the call before the gateway does.
            if pauses.longest < _PAUSE_SECONDS or "a status without details: DEADLINE_EXCEEDED" not in str(error):
                raise
            return
    assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"), rpc.name
    assert (failure.outcome, failure.retry_seconds) == ("UNKNOWN" if sent else "NOT_SENT", None)


async def _all_late(running: Running, rpcs: Mapping[str, Rpc], *, sent: bool) -> None:
    """Let the deadline of each rpc pass, one after the other: a reply has 100 ms for its way back."""
    calls = zip(rpcs.values(), itertools.count(2.0, 0.2), strict=False)
    await asyncio.gather(*(_late(running, rpc, deadline, sent=sent) for rpc, deadline in calls))


async def test_a_deadline_that_passes_while_the_upstream_works_leaves_the_outcome_unknown(running: Running) -> None:
    make_ready(running.sandbox)
    before = (known(running.sandbox), running.sandbox.transactions.all())
    arrivals = [
        Arrivals(running.sandbox.faults, rpc.operation, _held(rpc.operation, times=3)) for rpc in UPSTREAM_RPCS.values()
    ]
    await _all_late(running, UPSTREAM_RPCS, sent=True)
    assert [each.count for each in arrivals] == [1] * len(UPSTREAM_RPCS)
    assert (known(running.sandbox), running.sandbox.transactions.all()) == before


async def test_a_deadline_that_passes_while_the_token_is_fetched_sends_nothing(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.faults.add(_held(D1Operation.GET_TOKEN))
    for rpc in D1_RPCS.values():
        sandbox.faults.add(Fault(rpc.operation, status=500))
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running:
        await _all_late(running, D1_RPCS, sent=False)
    assert all(sandbox.faults.take(rpc.operation) for rpc in D1_RPCS.values())


async def test_a_token_that_comes_slowly_serves_the_calls_that_still_wait(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults.add(Fault(D1Operation.GET_TOKEN, latency_ms=3_500))
    async with running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running:
        patient = asyncio.create_task(RPCS["SuspendCard"].call(running))
        await _late(running, RPCS["DeleteCard"], 2.0, sent=False)
        await patient
    assert sandbox.store.card("card-active").state is CardState.SUSPENDED


async def test_without_a_deadline_the_gateways_own_limit_holds(sandbox: Sandbox, tmp_path: Path) -> None:
    make_ready(sandbox)
    for rpc in UPSTREAM_RPCS.values():
        sandbox.faults.add(_held(rpc.operation, times=3))
    used = with_threeds(settings_for(sandbox, tmp_path, d1_timeout_seconds=3.0), total_timeout_seconds=3.0)
    async with running_gateway(sandbox, used) as running:
        began = time.perf_counter()
        calls = (failure_of(rpc.call(running, timeout=None)) for rpc in UPSTREAM_RPCS.values())
        failures = await asyncio.gather(*calls)
        assert 3.0 <= time.perf_counter() - began < _HANGS / 1000 / 3
    seen = {(failure.code, failure.reason, failure.outcome) for failure in failures}
    assert seen == {(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "UNKNOWN")}
    left = {fault.operation: left for fault, left in sandbox.faults.pending()}
    assert left == {rpc.operation: 2 for rpc in UPSTREAM_RPCS.values()}, "each was sent once"


@pytest.mark.parametrize("rpc", LOOKUPS, ids=lambda rpc: rpc.name)
async def test_a_lookup_is_not_retried_past_its_deadline(running: Running, rpc: Rpc) -> None:
    later = Fault(status=503, headers={"Retry-After": "5"}, times=3)
    arrivals = Arrivals(running.sandbox.faults, rpc.operation, later)
    failure = await failure_of(rpc.call(running, timeout=3.0))
    assert (failure.reason, failure.retry_seconds) == ("UPSTREAM_UNAVAILABLE", 5.0)
    assert arrivals.count == 1


@pytest.mark.parametrize(
    ("slow", "others"),
    [("DeleteCard", ("ResumeCard", "SuspendCard")), ("Authenticate", ("LookupCard", "Authenticate"))],
)
async def test_a_slow_call_holds_up_no_other_one(running: Running, slow: str, others: tuple[str, ...]) -> None:
    held = Arrivals(running.sandbox.faults, UPSTREAM_RPCS[slow].operation, _held(""))
    pending = asyncio.create_task(failure_of(UPSTREAM_RPCS[slow].call(running, timeout=20.0)))
    await held.first()
    for other in others:
        await UPSTREAM_RPCS[other].call(running)
    assert not pending.done()
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending


async def test_a_caller_that_leaves_does_not_undo_what_was_sent(authenticating: Authenticating) -> None:
    areq = await authenticating.looked_up_areq("2.2.0", pan_of("0170"))
    trans_id = areq.three_ds_server_trans_id
    arrivals = authenticating.arrivals(Operation.AUTH, Fault(latency_ms=300))
    call = authenticating.running.authentication.Authenticate(threeds.AuthenticateRequest(areq=areq), timeout=10)
    pending = asyncio.ensure_future(call)
    await arrivals.first()
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending
    async with asyncio.timeout(10):
        # The simulator sends no event when it has acted.
        while authenticating.phase(trans_id) is Phase.LOOKED_UP:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert authenticating.phase(trans_id) is Phase.CHALLENGED
    assert arrivals.count == 1
    assert not (await authenticating.result(trans_id)).received
    again = await failure_of(authenticating.authenticate(areq))
    assert (again.reason, again.metadata["upstream_code"]) == ("THREE_DS_REJECTED", "301")


async def test_a_call_whose_caller_left_is_given_up(sandbox: Sandbox, tmp_path: Path) -> None:
    used = with_threeds(settings_for(sandbox, tmp_path), max_connections=1)
    async with running_gateway(sandbox, used) as running:
        for rpc in THREEDS_RPCS.values():
            sandbox.faults.clear()
            arrivals = Arrivals(sandbox.faults, rpc.operation, _held(""))
            left = asyncio.create_task(rpc.call(running, timeout=_HANGS / 1000))
            await arrivals.first()
            left.cancel()
            with pytest.raises(asyncio.CancelledError):
                await left
            # The only connection is free again, long before the held response would have arrived.
            assert (await THREEDS_RPCS["LookupCard"].call(running)).enrolled
            assert arrivals.count == (2 if rpc.operation == Operation.PREAUTH else 1)


async def _unreachable(running: Running) -> None:
    before = (known(running.sandbox), running.sandbox.transactions.all())
    # Well below the time limit of an upstream's call.
    calls = {rpc.name: failure_of(rpc.call(running, timeout=8.0)) for rpc in UPSTREAM_RPCS.values()}
    for name, failure in zip(calls, await asyncio.gather(*calls.values()), strict=True):
        assert failure.error == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNREACHABLE", "NOT_SENT", 1.0), name
        assert failure.metadata["upstream"] == ("threeds" if name in THREEDS_RPCS else "d1")
    assert (known(running.sandbox), running.sandbox.transactions.all()) == before


async def test_upstreams_that_were_never_there_are_unreachable(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "keys") as gone:
        used = settings_for(gone, tmp_path)
    async with running_gateway(gone, used) as running:
        await _unreachable(running)


async def test_upstreams_that_went_away_are_unreachable(tmp_path: Path) -> None:
    async with AsyncExitStack() as upstreams:
        sandbox = await upstreams.enter_async_context(Sandbox.start(tmp_path / "keys"))
        async with running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running:
            await D1_RPCS["RegisterConsumer"].call(running)
            assert (await THREEDS_RPCS["LookupCard"].call(running)).enrolled
            await upstreams.aclose()
            await _unreachable(running)


async def test_a_server_that_the_authority_did_not_sign_for_gets_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    async with authenticating_in(tmp_path, tls_ca_file=sandbox.pki.server_ca) as authenticating:
        arrivals = authenticating.arrivals()
        for rpc in THREEDS_RPCS.values():
            failure = await failure_of(rpc.call(authenticating.running))
            assert failure.error == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNREACHABLE", "NOT_SENT", 1.0)
            assert failure.metadata["upstream"] == "threeds"
        assert arrivals.count == 0
