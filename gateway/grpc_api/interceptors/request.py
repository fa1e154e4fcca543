"""Receives the request of an rpc, once its caller may send it."""

import asyncio
from collections import defaultdict
from typing import Any, Final

from gateway.auth import grant as access
from gateway.errors import FieldViolation, GatewayError
from gateway.grpc_api.interceptors.chain import Interceptor, Rpc, ended_by_grpc
from gateway.validation.truncate import invalid_request
from issuer.common.v1 import error_pb2

__all__ = ["RequestInterceptor"]

_SECONDS: Final = 10.0
_HURRY_SECONDS: Final = 1.0
_MANY: Final = 64
"""So many requests of a caller may take their time at once: a request usually arrives together with its call."""
_RETRY_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 0.25


class RequestInterceptor(Interceptor):
    """Waits for the request; must be inside the interceptors that refuse callers or limit their calls.

    Before, grpc keeps no more of a request than a stream's window, and frees it as soon as the call is refused.

    One timer looks for all late requests: one for each call, as in `asyncio.timeout`, costs a tenth of what grpc takes
    for the call.
    """

    def __init__(self, *, seconds: float = _SECONDS, many: int = _MANY) -> None:
        """Set the limits.

        Args:
            seconds: The time that a request has to arrive, once it is waited for.
            many: The number of a caller's incomplete requests beyond which each further one has no more than a second.
                All without a grant count as one caller: probes, and without a policy everybody.
        """
        self._seconds = seconds
        self._many = many
        self._is_draining = False
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._incomplete: defaultdict[str, int] = defaultdict(int)
        self._late: set[asyncio.Task[Any]] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._looked_at = 0.0

    def drain(self) -> None:
        """Wait hardly any longer for requests, so that one that never comes does not delay the shutdown."""
        self._is_draining = True
        end = asyncio.get_running_loop().time() + min(_HURRY_SECONDS, self._seconds)
        self._ends = dict.fromkeys(self._ends, end)

    async def serve(self, rpc: Rpc) -> Any:
        """Receive the request, then proceed. The servicer receives the requests of a stream itself.

        Raises:
            GatewayError: INVALID_REQUEST; for a request that is late, TOO_MANY_REQUESTS if its caller has too many
                incomplete ones, SERVER_DRAINING during a drain.
        """
        if not rpc.method.has_request_stream:
            await self._receive(rpc)
        return await rpc.proceed()

    async def _receive(self, rpc: Rpc) -> None:
        loop, task, grant = asyncio.get_running_loop(), asyncio.current_task(), access.current()
        if task is None:
            raise RuntimeError("grpc.aio runs every rpc in a task")
        caller = "" if grant is None else grant.caller.identity
        is_one_of_many = self._incomplete[caller] >= self._many
        is_hurried = self._is_draining or is_one_of_many
        seconds = min(_HURRY_SECONDS, self._seconds) if is_hurried else self._seconds
        self._incomplete[caller] += 1
        self._ends[task] = loop.time() + seconds
        if self._sweep is None:
            self._sweep = loop.call_later(_SWEEP_SECONDS, self._cancel_late)
        try:
            is_there = await rpc.receive()
        except asyncio.CancelledError:
            # Its caller may have left as well.
            if task not in self._late or task.uncancel():
                raise
            raise self._late_error(seconds, is_one_of_many=is_one_of_many) from None
        finally:
            self._incomplete[caller] -= 1
            if not self._incomplete[caller]:
                del self._incomplete[caller]
            del self._ends[task]
            self._late.discard(task)
        if not is_there:
            await ended_by_grpc()
            raise _missing("is missing: the caller ended the call without it")

    def _cancel_late(self) -> None:
        loop = asyncio.get_running_loop()
        for task, end in self._ends.items():
            # If the process has been busy or paused, a request may be there that nobody has looked at.
            if end <= self._looked_at and task not in self._late:
                self._late.add(task)
                task.cancel()
        self._looked_at = loop.time()
        self._sweep = loop.call_later(_SWEEP_SECONDS, self._cancel_late) if self._ends else None

    def _late_error(self, seconds: float, *, is_one_of_many: bool) -> GatewayError:
        if self._is_draining:
            return _draining()
        if not is_one_of_many:
            return _missing(f"must arrive within {seconds:g} s")
        return GatewayError(
            error_pb2.ERROR_REASON_TOO_MANY_REQUESTS,
            f"While {self._many} requests of a caller are incomplete, a further one must arrive within {seconds:g} s",
            outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
            retry_after_seconds=_RETRY_SECONDS,
        )


def _draining() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_SERVER_DRAINING,
        "Server draining; send the request to another instance.",
        outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
        retry_after_seconds=0.0,
    )


def _missing(description: str) -> GatewayError:
    return invalid_request([FieldViolation("", f"the request {description}", "request.missing")])
