import asyncio
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.d1.model.contract import Operation
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.e2e.calls import register, suspend
from tests.e2e.watching import connect
from tests.running import failure_of

_SLACK_SECONDS = 3.0
"""How late an answer may be on a busy machine."""
_LIMIT_SECONDS = 1.0
_FOREVER = Fault(operation=Operation.SUSPEND_CARD, latency_ms=60_000)
_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNREACHABLE", "NOT_SENT")


async def _told(call: Awaitable[object]) -> tuple[grpc.StatusCode, str, str]:
    """Let a call fail; tells what its caller is told."""
    failure = await failure_of(call)
    return failure.code, failure.reason, failure.outcome


async def test_a_call_ends_with_unknown_when_d1_drops_it_and_not_sent_when_d1_is_gone(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack, AsyncExitStack() as d1:
        sandbox = await d1.enter_async_context(Sandbox.start(tmp_path / "keys"))
        gateway = await GatewayProcess.start(GatewayConfig.of(sandbox, tmp_path), tmp_path)
        await stack.enter_async_context(gateway)
        channel = await stack.enter_async_context(connect(gateway.grpc, sandbox.pki))
        await register(channel, "card_1")
        sandbox.faults.add(_FOREVER)

        dropped = asyncio.create_task(_told(suspend(channel, "card_1")))
        await _until_taken(sandbox)
        began = time.monotonic()
        await d1.aclose()
        assert await dropped == (grpc.StatusCode.UNKNOWN, "UPSTREAM_NO_ANSWER", "UNKNOWN")
        refused = await _told(suspend(channel, "card_1"))
        took = time.monotonic() - began

    assert refused == _UNREACHABLE
    assert took < _SLACK_SECONDS


async def test_a_first_call_ends_with_not_sent_when_d1_issues_no_token(tmp_path: Path) -> None:
    async with Sandbox.start(tmp_path / "keys") as sandbox:
        config = GatewayConfig.of(sandbox, tmp_path)
    async with (
        await GatewayProcess.start(config, tmp_path) as gateway,
        connect(gateway.grpc, sandbox.pki) as channel,
    ):
        refused = await _told(suspend(channel, "card_1"))

    assert refused == _UNREACHABLE


async def test_a_silent_d1_holds_a_call_no_longer_than_the_gateways_limit(sandbox: Sandbox, tmp_path: Path) -> None:
    impatient = {"total_timeout_seconds": _LIMIT_SECONDS, "connect_timeout_seconds": _LIMIT_SECONDS}
    config = replace(GatewayConfig.of(sandbox, tmp_path), more={"d1": impatient})
    async with (
        await GatewayProcess.start(config, tmp_path) as gateway,
        connect(gateway.grpc, sandbox.pki) as channel,
    ):
        await register(channel, "card_1")
        sandbox.faults.add(_FOREVER)
        began = time.monotonic()
        silent = await _told(suspend(channel, "card_1"))
        took = time.monotonic() - began

    assert silent == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", "UNKNOWN")
    assert _LIMIT_SECONDS <= took < _LIMIT_SECONDS + _SLACK_SECONDS


async def test_a_silent_d1_holds_a_call_no_longer_than_the_callers_deadline(
    sandbox: Sandbox, gateway: GatewayProcess
) -> None:
    async with connect(gateway.grpc, sandbox.pki) as channel:
        await register(channel, "card_1")
        sandbox.faults.add(_FOREVER)
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await suspend(channel, "card_1", seconds=_LIMIT_SECONDS)
        took = time.monotonic() - began

    # Both ends give up at the same moment, so the details may come too late.
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert took < _LIMIT_SECONDS + _SLACK_SECONDS


async def _until_taken(sandbox: Sandbox) -> None:
    """Wait until a call has met the fault that was added."""
    async with asyncio.timeout(_SLACK_SECONDS):
        while sandbox.faults._pending:  # noqa: ASYNC110 - a fault taken sets no event
            await asyncio.sleep(0.01)
