"""AuthenticationService: no call hangs, whatever the 3DS server or the caller does; no service without a server."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from issuer.threeds.v1 import messages_pb2 as threeds
from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.threeds.contract import Operation
from sandbox.threeds.transaction import Phase
from tests.contract.areqs import REQUESTOR, an_areq, pan_of
from tests.contract.authenticating import Authenticating, authenticating_in
from tests.contract.authentication_rpcs import QUESTIONS, THREEDS_RPCS, ThreeDSRpc
from tests.contract.card_rpcs import RPCS
from tests.running import Running, failure_of, running_gateway, settings_for

_SERVICE = "issuer.threeds.v1.AuthenticationService"
_HANGS = 30_000
"""The longest time that the simulator may hold a call, in milliseconds."""
_OVERHEAD_SECONDS = 2.0
"""A margin for a busy machine, in seconds."""


async def _late(running: Running, rpc: ThreeDSRpc, deadline: float) -> None:
    began = time.perf_counter()
    failure = await failure_of(rpc.call(running, timeout=deadline))
    assert time.perf_counter() - began < deadline + _OVERHEAD_SECONDS
    assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert (failure.outcome, failure.retry_seconds) == ("UNKNOWN", None)


async def test_a_deadline_that_passes_leaves_the_outcome_unknown(authenticating: Authenticating) -> None:
    arrivals = [
        authenticating.arrivals(rpc.operation, Fault(latency_ms=_HANGS, times=3)) for rpc in THREEDS_RPCS.values()
    ]
    await asyncio.gather(*(_late(authenticating.running, rpc, 1.0) for rpc in THREEDS_RPCS.values()))
    assert [each.count for each in arrivals] == [1, 1, 1]
    assert authenticating.sandbox.transactions.all() == ()


async def test_without_a_deadline_the_gateways_own_limit_holds(tmp_path: Path) -> None:
    async with authenticating_in(tmp_path, total_timeout_seconds=0.5) as authenticating:
        arrivals = authenticating.arrivals("*", Fault(latency_ms=_HANGS, times=9))
        began = time.perf_counter()
        calls = (failure_of(rpc.call(authenticating.running, timeout=None)) for rpc in THREEDS_RPCS.values())
        failures = await asyncio.gather(*calls)
        assert 0.5 <= time.perf_counter() - began < 0.5 + _OVERHEAD_SECONDS
        assert arrivals.count == 3
    seen = {(failure.code, failure.reason, failure.outcome) for failure in failures}
    assert seen == {(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "UNKNOWN")}


async def test_the_limit_as_it_ships_is_just_past_the_3ds_servers_own(sandbox: Sandbox, tmp_path: Path) -> None:
    used = settings_for(sandbox, tmp_path)
    assert used.threeds is not None
    assert used.threeds.total_timeout_seconds == 11.0


@pytest.mark.parametrize("rpc", QUESTIONS, ids=lambda rpc: rpc.name)
async def test_a_lookup_is_not_retried_past_its_deadline(authenticating: Authenticating, rpc: ThreeDSRpc) -> None:
    later = Fault(status=503, headers={"Retry-After": "5"}, times=3)
    arrivals = authenticating.arrivals(rpc.operation, later)
    began = time.perf_counter()
    failure = await failure_of(rpc.call(authenticating.running, timeout=3.0))
    assert time.perf_counter() - began < _OVERHEAD_SECONDS
    assert (failure.reason, failure.retry_seconds) == ("UPSTREAM_UNAVAILABLE", 5.0)
    assert arrivals.count == 1


async def test_a_slow_authentication_holds_up_nothing_else(authenticating: Authenticating) -> None:
    held = authenticating.arrivals(Operation.AUTH, Fault(latency_ms=_HANGS))
    slow = asyncio.create_task(failure_of(THREEDS_RPCS["Authenticate"].call(authenticating.running, timeout=8.0)))
    await held.first()
    await authenticating.lookup(pan_of("0003"))
    await authenticating.authenticate(an_areq("2.2.0", pan_of("0003"), REQUESTOR))
    assert not slow.done()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow


async def test_a_caller_that_leaves_does_not_undo_what_was_sent(authenticating: Authenticating) -> None:
    areq = await authenticating.looked_up_areq("2.2.0", pan_of("0170"))
    trans_id = areq.three_ds_server_trans_id
    arrivals = authenticating.arrivals(Operation.AUTH, Fault(latency_ms=300))
    call = authenticating.running.authentication.Authenticate(threeds.AuthenticateRequest(areq=areq), timeout=10)
    pending = asyncio.ensure_future(_awaited(call))
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


@pytest.mark.parametrize("rpc", THREEDS_RPCS.values(), ids=THREEDS_RPCS.keys())
async def test_a_call_whose_caller_left_is_given_up(tmp_path: Path, rpc: ThreeDSRpc) -> None:
    async with authenticating_in(tmp_path, max_connections=1) as authenticating:
        arrivals = authenticating.arrivals(rpc.operation, Fault(latency_ms=_HANGS))
        left = asyncio.create_task(rpc.call(authenticating.running, timeout=30))
        await arrivals.first()
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        # The only connection is free again, long before the held response would have arrived.
        assert (await authenticating.lookup(pan_of("0003"))).enrolled
        assert arrivals.count == (2 if rpc.operation is Operation.PREAUTH else 1)


async def _unreachable(running: Running) -> None:
    began = time.perf_counter()
    calls = (failure_of(rpc.call(running)) for rpc in THREEDS_RPCS.values())
    for failure in await asyncio.gather(*calls):
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNREACHABLE")
        assert (failure.outcome, failure.retry_seconds) == ("NOT_SENT", 1.0)
        assert failure.metadata["upstream"] == "threeds"
    assert time.perf_counter() - began < _OVERHEAD_SECONDS


async def test_a_3ds_server_that_was_never_there_is_unreachable(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "keys") as gone:
        used = settings_for(gone, tmp_path)
    async with running_gateway(gone, used) as running:
        await _unreachable(running)


async def test_a_3ds_server_that_went_away_is_unreachable(tmp_path: Path) -> None:
    async with AsyncExitStack() as threeds_server:
        sandbox = await threeds_server.enter_async_context(Sandbox.start(tmp_path / "keys"))
        async with running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running:
            assert (await THREEDS_RPCS["LookupCard"].call(running)).enrolled
            before = sandbox.transactions.all()
            await threeds_server.aclose()
            await _unreachable(running)
            assert sandbox.transactions.all() == before


async def test_a_server_that_the_authority_did_not_sign_for_gets_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    async with authenticating_in(elsewhere, tls_ca_file=sandbox.pki.server_ca) as authenticating:
        arrivals = authenticating.arrivals()
        await _unreachable(authenticating.running)
        assert arrivals.count == 0


async def test_without_a_3ds_server_the_service_is_not_there_and_the_others_are(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    used = settings_for(sandbox, tmp_path).model_copy(update={"threeds": None})
    async with running_gateway(sandbox, used) as running:
        for rpc in THREEDS_RPCS.values():
            with pytest.raises(grpc.aio.AioRpcError) as called:
                await rpc.call(running)
            assert called.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.aio.AioRpcError) as checked:
            await _check(running, _SERVICE)
        assert checked.value.code() is grpc.StatusCode.NOT_FOUND
        assert await _check(running, "") == health_pb2.HealthCheckResponse.SERVING
        await RPCS["SuspendCard"].call(running)


async def test_with_a_3ds_server_health_lists_the_service(running: Running) -> None:
    assert await _check(running, _SERVICE) == health_pb2.HealthCheckResponse.SERVING


async def _check(running: Running, service: str) -> int:
    # The stubs lack this attribute.
    stub: Any = health_pb2_grpc.HealthStub(running.channel)
    return int((await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)).status)


async def _awaited(call: Any) -> Any:
    return await call
