"""Detached calls: once begun, a change finishes even if its caller leaves."""

import asyncio
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, TypeVar

import structlog

from gateway.errors import GatewayError
from gateway.grpc_api.interceptors.chain import Interceptor, Rpc
from gateway.idempotency.requests import mutating_rpc
from issuer.common.v1 import error_pb2

__all__ = ["DetachedCallInterceptor", "DetachedCalls", "DetachedOutcome"]

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


class DetachedOutcome(StrEnum):
    """How a change ended whose caller had left: the word for it in the metrics."""

    COMPLETED = "completed"
    """It took effect."""
    FAILED = "failed"
    """It was not sent, or rejected."""
    UNKNOWN = "unknown"
    """It may have taken effect, and its caller has not heard of it."""


class DetachedCalls:
    """Runs changes in separate tasks, which a leaving caller does not cancel.

    Interrupting a change upstream is the worst end: it may have happened, and nobody knows. Each change ends by the
    deadline of its call.
    """

    def __init__(self, on_end: Callable[[DetachedOutcome], object] = lambda _: None) -> None:
        """Start without changes.

        Args:
            on_end: Called when a change ends whose caller has left.
        """
        self._on_end = on_end
        self._running: dict[asyncio.Task[Any], asyncio.Future[None]] = {}
        """The changes, and who waits for the end of each."""

    async def run(self, change: Coroutine[Any, Any, _T], name: str) -> _T:
        """Run a change and return its result. If the caller is cancelled, the result goes to the log.

        Args:
            change: The change.
            name: The rpc, for the log.

        Raises:
            Exception: Whatever the change raises.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(change, name=name)
        # As `asyncio.shield` does, with one callback instead of three.
        self._running[task] = end = loop.create_future()
        task.add_done_callback(self._end)
        try:
            await end
        except asyncio.CancelledError:
            if not end.cancelled():
                self._on_end(_log_end(task))
            raise
        return task.result()

    def _end(self, task: "asyncio.Task[Any]") -> None:
        end = self._running.pop(task)
        if end.cancelled():
            self._on_end(_log_end(task))
        else:
            end.set_result(None)

    async def drain(self, grace_seconds: float) -> None:
        """Wait for running changes, and cancel those left after the grace period."""
        loop = asyncio.get_running_loop()
        end = loop.time() + grace_seconds
        while self._running and (left := end - loop.time()) > 0:
            await asyncio.wait(self._running, timeout=left)
        interrupted = tuple(self._running)
        for task in interrupted:
            task.cancel()
        await asyncio.gather(*interrupted, return_exceptions=True)


class DetachedCallInterceptor(Interceptor):
    """Detaches what is inside it from the caller if the rpc changes something. The rest ends with the caller."""

    def __init__(self, detached_calls: DetachedCalls) -> None:
        self._detached_calls = detached_calls

    async def serve(self, rpc: Rpc) -> Any:
        """Proceed, as a detached call if the rpc changes something."""
        if mutating_rpc(rpc.method.path) is None:
            return await rpc.proceed()
        return await self._detached_calls.run(rpc.proceed(), rpc.method.path)


def _log_end(task: asyncio.Task[Any]) -> DetachedOutcome:
    """Log how a change ended, and return it."""
    rpc = task.get_name()
    if task.cancelled():
        _log.error("detached_call_interrupted", rpc=rpc)
        return DetachedOutcome.UNKNOWN
    match task.exception():
        case None:
            _log.info("detached_call_completed", rpc=rpc)
            return DetachedOutcome.COMPLETED
        case GatewayError() as error:
            _log.warning("detached_call_failed", rpc=rpc, reason=error.reason_name, outcome=error.outcome_name)
            is_unknown = error.outcome == error_pb2.ERROR_OUTCOME_UNKNOWN
            return DetachedOutcome.UNKNOWN if is_unknown else DetachedOutcome.FAILED
        case error:
            _log.error("detached_call_failed", rpc=rpc, exc_info=error)
            return DetachedOutcome.UNKNOWN
