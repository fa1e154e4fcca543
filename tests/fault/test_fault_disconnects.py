"""Callers that disconnect: their changes finish, their reads are cancelled, and a shutdown waits for the changes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from sandbox.common.faults import Drop, Fault
from sandbox.d1.model.contract import CardState
from tests.fault.calls import QUERIES, list_operations, suspend
from tests.fault.faulty import Faulty, faulty_gateway, until

_RPC = "/issuer.card.v1.CardService/SuspendCard"


async def _left(faulty: Faulty, call: Callable[..., Awaitable[Any]], seconds: float = 10.0) -> None:
    """Call, and leave as soon as D1 has the request."""
    sent = len(faulty.d1.requests)
    calling = asyncio.ensure_future(call(faulty.running, seconds=seconds))
    await until(lambda: len(faulty.d1.requests) > sent)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


def _ends(logged: list[Any]) -> list[tuple[Any, ...]]:
    entries = [entry for entry in logged if entry["event"].startswith("detached_call_")]
    return [(entry["event"], entry["rpc"], entry.get("reason")) for entry in entries]


async def test_a_change_whose_caller_left_is_finished_and_logged(tmp_path: Path) -> None:
    with capture_logs() as logged:
        async with faulty_gateway(tmp_path, d1={"max_connections": 1}) as faulty:
            await list_operations(faulty.running)
            faulty.sandbox.faults.add(Fault("suspendCard", latency_ms=600))
            began = time.perf_counter()
            await _left(faulty, suspend)
            # The one connection is not given up: this call comes after the change.
            await list_operations(faulty.running)
            assert time.perf_counter() - began >= 0.6
            assert faulty.sandbox.store.card("card-active").state is CardState.SUSPENDED

    assert _ends(logged) == [("detached_call_completed", _RPC, None)]


async def test_a_read_whose_caller_left_is_dropped(tmp_path: Path) -> None:
    with capture_logs() as logged:
        async with faulty_gateway(tmp_path, d1={"max_connections": 1}) as faulty:
            await QUERIES["d1"](faulty.running)
            faulty.sandbox.faults.add(Fault("list3dsOperations", latency_ms=30_000))
            await _left(faulty, list_operations)
            # The one connection is given up: this call ends before the first would have.
            await list_operations(faulty.running, seconds=20.0)

    assert _ends(logged) == []


async def test_a_change_that_fails_after_its_caller_left_is_logged_with_its_outcome(faulty: Faulty) -> None:
    faulty.sandbox.faults.add(Fault("suspendCard", latency_ms=500, drop=Drop.AFTER))
    with capture_logs() as logged:
        await _left(faulty, suspend)
        await until(lambda: bool(_ends(logged)))

    assert _ends(logged) == [("detached_call_failed", _RPC, "UPSTREAM_NO_RESPONSE")]
    assert next(entry for entry in logged if entry.get("rpc") == _RPC and "outcome" in entry)["outcome"] == "UNKNOWN"


@pytest.mark.parametrize(
    ("grace_seconds", "latency_ms", "most_seconds", "end"),
    # Before the change would end, and before the default grace.
    [(5.0, 600, 30.0, "completed"), (0.5, 30_000, 5.0, "interrupted")],
)
async def test_a_shutdown_waits_for_a_change_whose_caller_left_but_no_longer_than_its_grace(
    tmp_path: Path, grace_seconds: float, latency_ms: int, most_seconds: float, end: str
) -> None:
    with capture_logs() as logged:
        async with faulty_gateway(tmp_path, drain_grace_seconds=grace_seconds) as faulty:
            await list_operations(faulty.running)
            faulty.sandbox.faults.add(Fault("suspendCard", latency_ms=latency_ms))
            await _left(faulty, suspend)
            began = time.perf_counter()
        assert time.perf_counter() - began < most_seconds

    assert _ends(logged) == [(f"detached_call_{end}", _RPC, None)]


async def test_a_change_ends_by_the_deadline_that_its_caller_had(faulty: Faulty) -> None:
    faulty.sandbox.faults.add(Fault("suspendCard", latency_ms=30_000))
    with capture_logs() as logged:
        began = time.perf_counter()
        await _left(faulty, suspend, seconds=1.0)
        await until(lambda: bool(_ends(logged)))

    # Before the gateway's own limit.
    assert time.perf_counter() - began < 10.0
    assert _ends(logged) == [("detached_call_failed", _RPC, "DEADLINE_EXCEEDED")]


async def test_whoever_gives_up_at_the_deadline_itself_leaves_the_change_finished_too(faulty: Faulty) -> None:
    faulty.sandbox.faults.add(Fault("suspendCard", latency_ms=300))
    with pytest.raises(grpc.aio.AioRpcError):
        await suspend(faulty.running, seconds=0.1)
    await until(lambda: faulty.sandbox.store.card("card-active").state is CardState.SUSPENDED)
