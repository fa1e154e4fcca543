"""Receives the request of an rpc, once its caller may send it."""

import asyncio
from typing import Any, Final

from gateway.errors import FieldViolation, GatewayError
from gateway.grpc_api.interceptors.chain import Interceptor, Rpc, ended_by_grpc
from gateway.validation.truncate import invalid_request
from issuer.common.v1 import error_pb2

__all__ = ["RequestInterceptor"]

_SECONDS: Final = 10.0
_HURRY_SECONDS: Final = 1.0
_MANY: Final = 64
"""So many requests may take their time at once: a request usually arrives together with its call."""


class RequestInterceptor(Interceptor):
    """Waits for the request; must be inside the interceptors that refuse callers or limit their calls.

    Before, grpc keeps no more of a request than a stream's window, and frees it as soon as the call is refused.
    """

    def __init__(self, *, seconds: float = _SECONDS, many: int = _MANY) -> None:
        """Set the limits.

        Args:
            seconds: The time that a request has to arrive, once it is waited for.
            many: The number of incomplete requests beyond which each further one has no more than a second.
        """
        self._seconds = seconds
        self._many = many
        self._is_draining = False
        self._waits: set[asyncio.Timeout] = set()

    def drain(self) -> None:
        """Wait hardly any longer for requests, so that one that never comes does not delay the shutdown."""
        self._is_draining = True
        end = asyncio.get_running_loop().time() + self._limit()
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(end)

    async def serve(self, rpc: Rpc) -> Any:
        """Receive the request, then proceed. The servicer receives the requests of a stream itself.

        Raises:
            GatewayError: INVALID_REQUEST, or SERVER_DRAINING for a request that is late then.
        """
        if not rpc.method.has_request_stream:
            await self._receive(rpc)
        return await rpc.proceed()

    async def _receive(self, rpc: Rpc) -> None:
        seconds = self._limit()
        try:
            async with asyncio.timeout(seconds) as wait:
                self._waits.add(wait)
                is_there = await rpc.receive()
        except TimeoutError:
            raise _draining() if self._is_draining else _missing(f"must arrive within {seconds:g} s") from None
        finally:
            self._waits.discard(wait)
        if not is_there:
            await ended_by_grpc()
            raise _missing("is missing: the caller ended the call without it")

    def _limit(self) -> float:
        is_hurried = self._is_draining or len(self._waits) >= self._many
        return min(_HURRY_SECONDS, self._seconds) if is_hurried else self._seconds


def _draining() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_SERVER_DRAINING,
        "Server draining; send the request to another instance.",
        outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
        retry_after_seconds=0.0,
    )


def _missing(description: str) -> GatewayError:
    return invalid_request([FieldViolation("", f"the request {description}", "request.missing")])
