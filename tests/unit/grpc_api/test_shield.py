"""Changes whose callers leave."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.errors import GatewayError
from gateway.grpc_api.interceptors.shield import DetachedCalls
from issuer.common.v1 import error_pb2
from tests.unit.http.virtual_time import in_virtual_time

_RPC = "/issuer.card.v1.CardService/SuspendCard"


async def _change(seconds: float, done: list[str], failure: Exception | None = None) -> str:
    await asyncio.sleep(seconds)
    if failure is not None:
        raise failure
    done.append("done")
    return "reply"


async def _left(detached_calls: DetachedCalls, change: Any) -> None:
    """Begin a change, and leave after a second."""
    caller = asyncio.create_task(detached_calls.run(change, _RPC))
    await asyncio.sleep(1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


def _logged(story: Any) -> list[tuple[Any, ...]]:
    with capture_logs() as logged:
        in_virtual_time(story)
    return [tuple(entry.get(key) for key in ("event", "rpc", "reason", "outcome")) for entry in logged]


def test_a_caller_that_waits_gets_the_reply_and_the_log_says_nothing() -> None:
    async def story() -> None:
        assert await DetachedCalls().run(_change(5, []), _RPC) == "reply"

    assert _logged(story()) == []


def test_a_caller_that_waits_gets_the_failure_itself() -> None:
    async def story() -> None:
        failure = GatewayError(error_pb2.ERROR_REASON_UPSTREAM_CONFLICT, "In use.")
        with pytest.raises(GatewayError) as caught:
            await DetachedCalls().run(_change(5, [], failure), _RPC)
        assert caught.value is failure

    assert _logged(story()) == []


def test_a_change_is_finished_without_its_caller_and_the_log_tells_of_it() -> None:
    async def story() -> None:
        detached_calls, done = DetachedCalls(), list[str]()
        await _left(detached_calls, _change(5, done))
        assert done == []
        await detached_calls.drain(60)
        assert done == ["done"]

    assert _logged(story()) == [("detached_call_completed", _RPC, None, None)]


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_change_that_ends_as_its_caller_leaves_is_logged_too(*, has_ended: bool) -> None:
    async def change() -> str:
        await asyncio.sleep(5)
        if has_ended and (task := asyncio.current_task()):
            task.add_done_callback(lambda _: callers[0].cancel())
        else:
            callers[0].cancel()
        return "reply"

    async def story() -> None:
        callers.append(asyncio.create_task(DetachedCalls().run(change(), _RPC)))
        with pytest.raises(asyncio.CancelledError):
            await callers[0]

    callers = list[asyncio.Task[str]]()
    assert _logged(story()) == [("detached_call_completed", _RPC, None, None)]


@pytest.mark.parametrize(
    ("failure", "logged"),
    [
        (
            GatewayError(error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE, "", outcome=error_pb2.ERROR_OUTCOME_UNKNOWN),
            ("detached_call_failed", _RPC, "UPSTREAM_NO_RESPONSE", "UNKNOWN"),
        ),
        (KeyError(), ("detached_call_failed", _RPC, None, None)),
    ],
)
def test_a_change_that_fails_without_its_caller_is_logged(failure: Exception, logged: tuple[Any, ...]) -> None:
    async def story() -> None:
        detached_calls = DetachedCalls()
        await _left(detached_calls, _change(5, [], failure))
        await detached_calls.drain(60)

    assert _logged(story()) == [logged]


def test_a_shutdown_waits_for_changes_and_for_those_that_begin_meanwhile() -> None:
    async def story() -> list[str]:
        detached_calls, done = DetachedCalls(), list[str]()
        first = asyncio.create_task(detached_calls.run(_change(5, done), _RPC))
        await asyncio.sleep(1)
        draining = asyncio.create_task(detached_calls.drain(60))
        await asyncio.sleep(1)
        second = asyncio.create_task(detached_calls.run(_change(10, done), _RPC))
        await draining
        assert first.done()
        assert second.done()
        return done

    assert in_virtual_time(story()) == ["done", "done"]


@pytest.mark.parametrize("grace", [7, 0, -1])
def test_what_is_left_after_the_grace_is_cut_off_and_the_log_tells_of_it(grace: float) -> None:
    async def story() -> None:
        detached_calls, done = DetachedCalls(), list[str]()
        await _left(detached_calls, _change(100, done))
        began = asyncio.get_running_loop().time()
        await detached_calls.drain(grace)
        assert asyncio.get_running_loop().time() - began == pytest.approx(max(grace, 0))
        assert done == []

    assert _logged(story()) == [("detached_call_interrupted", _RPC, None, None)]


@pytest.mark.parametrize(
    ("failure", "grace", "outcome"),
    [
        (None, 60, "completed"),
        (GatewayError(error_pb2.ERROR_REASON_UPSTREAM_CONFLICT, "In use."), 60, "failed"),
        (
            GatewayError(error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE, "", outcome=error_pb2.ERROR_OUTCOME_UNKNOWN),
            60,
            "unknown",
        ),
        (KeyError(), 60, "unknown"),
        (None, 1, "unknown"),
    ],
)
def test_how_a_change_ends_is_counted_if_its_caller_has_left(
    failure: Exception | None, grace: float, outcome: str
) -> None:
    counted: list[str] = []

    async def story() -> None:
        detached_calls = DetachedCalls(counted.append)
        await detached_calls.run(_change(1, []), _RPC)
        await _left(detached_calls, _change(5, [], failure))
        await detached_calls.drain(grace)

    in_virtual_time(story())
    assert counted == [outcome], "a caller that stays knows"
