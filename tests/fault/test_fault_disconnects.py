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
from tests.fault.calls import QUESTIONS, list_operations, suspend
from tests.fault.faulty import SLACK_SECONDS, Faulty, faulty_gateway

_RPC = "/issuer.card.v1.CardService/SuspendCard"


async def _left(faulty: Faulty, call: Callable[..., Awaitable[Any]], seconds: float = 10.0) -> None:
    """Call, and leave as soon as D1 has the request."""
    sent = len(faulty.d1.requests)
    calling = asyncio.ensure_future(call(faulty.running, seconds=seconds))
    async with asyncio.timeout(SLACK_SECONDS):
        while len(faulty.d1.requests) == sent:  # noqa: ASYNC110 - a request that passes sets no event
            await asyncio.sleep(0.01)
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
            faulty.sandbox.faults.add(Fault("suspendCard", latency_ms=1_000))
            began = time.perf_counter()
            await _left(faulty, suspend)
            # The one connection is not given up: this call comes after the change.
            await list_operations(faulty.running)
            assert time.perf_counter() - began >= 1
            assert faulty.sandbox.store.card("card-active").state is CardState.SUSPENDED

    assert _ends(logged) == [("detached_call_completed", _RPC, None)]


async def test_a_read_whose_caller_left_is_dropped(tmp_path: Path) -> None:
    with capture_logs() as logged:
        async with faulty_gateway(tmp_path, d1={"max_connections": 1}) as faulty:
            await QUESTIONS["d1"](faulty.running)
            faulty.sandbox.faults.add(Fault("list3dsOperations", latency_ms=30_000))
            began = time.perf_counter()
            await _left(faulty, list_operations)
            await list_operations(faulty.running)
            assert time.perf_counter() - began < SLACK_SECONDS

    assert _ends(logged) == []


async def test_a_change_that_fails_after_its_caller_left_is_logged_with_its_outcome(faulty: Faulty) -> None:
    await list_operations(faulty.running)
    faulty.sandbox.faults.add(Fault("suspendCard", latency_ms=500, drop=Drop.AFTER))
    with capture_logs() as logged:
        await _left(faulty, suspend)
        async with asyncio.timeout(SLACK_SECONDS):
            while not _ends(logged):  # noqa: ASYNC110 - a line that is logged sets no event
                await asyncio.sleep(0.01)

    assert _ends(logged) == [("detached_call_failed", _RPC, "UPSTREAM_NO_ANSWER")]
    assert next(entry for entry in logged if entry.get("rpc") == _RPC and "outcome" in entry)["outcome"] == "UNKNOWN"


async def test_a_shutdown_waits_for_a_change_whose_caller_left(tmp_path: Path) -> None:
    with capture_logs() as logged:
        async with faulty_gateway(tmp_path) as faulty:
            await list_operations(faulty.running)
            faulty.sandbox.faults.add(Fault("suspendCard", latency_ms=1_500))
            await _left(faulty, suspend)

    assert _ends(logged) == [("detached_call_completed", _RPC, None)]


async def test_a_shutdown_waits_no_longer_than_its_grace(tmp_path: Path) -> None:
    with capture_logs() as logged:
        async with faulty_gateway(tmp_path, drain_grace_seconds=0.5) as faulty:
            await list_operations(faulty.running)
            faulty.sandbox.faults.add(Fault("suspendCard", latency_ms=30_000))
            await _left(faulty, suspend)
            began = time.perf_counter()
        assert time.perf_counter() - began < SLACK_SECONDS

    assert _ends(logged) == [("detached_call_interrupted", _RPC, None)]


async def test_a_change_ends_by_the_deadline_that_its_caller_had(faulty: Faulty) -> None:
    await list_operations(faulty.running)
    faulty.sandbox.faults.add(Fault("suspendCard", latency_ms=30_000))
    with capture_logs() as logged:
        began = time.perf_counter()
        await _left(faulty, suspend, seconds=1.0)
        async with asyncio.timeout(SLACK_SECONDS):
            while not _ends(logged):  # noqa: ASYNC110 - a line that is logged sets no event
                await asyncio.sleep(0.01)

    assert time.perf_counter() - began < SLACK_SECONDS
    assert _ends(logged) == [("detached_call_failed", _RPC, "DEADLINE_EXCEEDED")]


async def test_whoever_gives_up_at_the_deadline_itself_leaves_the_change_finished_too(faulty: Faulty) -> None:
    await list_operations(faulty.running)
    faulty.sandbox.faults.add(Fault("suspendCard", latency_ms=300))
    with pytest.raises(grpc.aio.AioRpcError):
        await suspend(faulty.running, seconds=0.1)
    async with asyncio.timeout(SLACK_SECONDS):
        while faulty.sandbox.store.card("card-active").state is not CardState.SUSPENDED:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
