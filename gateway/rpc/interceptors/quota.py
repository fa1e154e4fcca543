"""Gives no caller more than its share of what one process can do at a time."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from gateway.errors import GatewayError
from gateway.identity import access
from gateway.rpc.interceptors.around import Context, Handler, Proceed, RequestStream, ServingInterceptor
from issuer.common.v1 import error_pb2

__all__ = ["QuotaInterceptor"]

_RETRY_SECONDS: Final = 1.0
_UNCOUNTED: Final = "/grpc.health.v1.Health/"
"""Who probes must not be taken for broken because it also calls."""


class QuotaInterceptor(ServingInterceptor):
    """Counts what each caller has in flight; stands right within the access, which tells who calls."""

    def __init__(self, *, max_calls: int, max_streams: int) -> None:
        """Prepare.

        Args:
            max_calls: How many rpcs without streams a caller may have in flight.
            max_streams: How many with streams.
        """
        super().__init__()
        self._max_calls = max_calls
        self._max_streams = max_streams
        self._calls: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._streaming: set[str] = set()

    @property
    def max_in_flight(self) -> int:
        """How many rpcs of any kind a caller may have in flight."""
        return self._max_calls + self._max_streams

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[Handler | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Wrap the handler, and note whether it is one of streams."""
        handler = await super().intercept_service(continuation, handler_call_details)
        if handler is not None and (handler.request_streaming or handler.response_streaming):
            self._streaming.add(handler_call_details.method)
        return handler

    async def serve(
        self, method: str, request: Message | RequestStream | None, context: Context, proceed: Proceed
    ) -> Any:
        """Count, proceed, count down.

        Raises:
            GatewayError: TOO_MANY_REQUESTS.
        """
        del request
        if method.startswith(_UNCOUNTED):
            return await proceed()
        streams = method in self._streaming
        counts, most = (self._streams, self._max_streams) if streams else (self._calls, self._max_calls)
        caller = _caller(context)
        if counts[caller] >= most:
            raise GatewayError(
                error_pb2.ERROR_REASON_TOO_MANY_REQUESTS,
                f"The caller has {most} {'streams' if streams else 'calls'} in flight, which is as many as it may.",
                outcome=error_pb2.OUTCOME_NOT_SENT,
                retry_after_seconds=_RETRY_SECONDS,
            )
        counts[caller] += 1
        try:
            return await proceed()
        finally:
            counts[caller] -= 1
            if not counts[caller]:
                del counts[caller]


def _caller(context: Context) -> str:
    grant = access.current()
    # Without a policy: the address, without the port, of which a caller may have many.
    return context.peer().rpartition(":")[0] if grant is None else grant.caller.identity
