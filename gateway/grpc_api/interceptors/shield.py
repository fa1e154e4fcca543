"""Detached calls: a change that has begun is finished, whether or not its caller waits."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from gateway.errors import GatewayError
from gateway.grpc_api.interceptors.chain import Interceptor, Rpc
from gateway.idempotency.requests import mutating_rpc

__all__ = ["DetachedCallInterceptor", "DetachedCalls"]

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


class DetachedCalls:
    """Runs changes in tasks of their own, which a caller that leaves does not cancel.

    A change cut short upstream is the worst of all ends: it may have happened, and nobody has heard of it. Each ends by
    the deadline of its call.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, change: Coroutine[Any, Any, _T], name: str) -> _T:
        """Run a change and return its result. If the caller is cancelled meanwhile, the log tells how it ended.

        Args:
            change: The change.
            name: What the log calls it: the rpc.

        Raises:
            Exception: What the change raises.
        """
        task = asyncio.create_task(change, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                task.add_done_callback(_log_end)
            raise

    async def drain(self, grace_seconds: float) -> None:
        """Wait for what still runs, and cancel what is left after the grace."""
        loop = asyncio.get_running_loop()
        end = loop.time() + grace_seconds
        while self._running and (left := end - loop.time()) > 0:
            await asyncio.wait(self._running, timeout=left)
        cut_off = tuple(self._running)
        for task in cut_off:
            task.cancel()
        await asyncio.gather(*cut_off, return_exceptions=True)


class DetachedCallInterceptor(Interceptor):
    """What stands around it ends with the caller; what stands within is finished, if the rpc changes something."""

    def __init__(self, finishing: DetachedCalls) -> None:
        """Prepare.

        Args:
            finishing: Runs the changes.
        """
        self._finishing = finishing

    async def serve(self, rpc: Rpc) -> Any:
        """Proceed, in a task of its own if that changes something."""
        if mutating_rpc(rpc.method.path) is None:
            return await rpc.proceed()
        return await self._finishing.run(rpc.proceed(), rpc.method.path)


def _log_end(task: asyncio.Task[Any]) -> None:
    rpc = task.get_name()
    if task.cancelled():
        _log.error("detached_call_interrupted", rpc=rpc)
        return
    match task.exception():
        case None:
            _log.info("detached_call_completed", rpc=rpc)
        case GatewayError() as error:
            _log.warning("detached_call_failed", rpc=rpc, reason=error.reason_name, outcome=error.outcome_name)
        case error:
            _log.error("detached_call_failed", rpc=rpc, exc_info=error)
