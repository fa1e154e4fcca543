"""Gives no caller more than its share of what one process can do at a time."""

from collections import Counter
from typing import Any, Final

from gateway.auth import grant as access
from gateway.errors import GatewayError
from gateway.grpc_api.interceptors.chain import Context, Interceptor, Rpc
from issuer.common.v1 import error_pb2

__all__ = ["QuotaInterceptor"]

_RETRY_SECONDS: Final = 1.0
_UNCOUNTED: Final = "/grpc.health.v1.Health/"
"""Who probes must not be taken for broken because it also calls."""


class QuotaInterceptor(Interceptor):
    """Counts what each caller has in flight; stands right within the access, which tells who calls."""

    def __init__(self, *, max_calls: int, max_streams: int) -> None:
        """Prepare.

        Args:
            max_calls: How many rpcs without streams a caller may have in flight.
            max_streams: How many with streams.
        """
        self._max_calls = max_calls
        self._max_streams = max_streams
        self._calls: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()

    @property
    def max_in_flight(self) -> int:
        """How many rpcs of any kind a caller may have in flight."""
        return self._max_calls + self._max_streams

    async def serve(self, rpc: Rpc) -> Any:
        """Count, proceed, count down.

        Raises:
            GatewayError: TOO_MANY_REQUESTS.
        """
        if rpc.method.path.startswith(_UNCOUNTED):
            return await rpc.proceed()
        streams = rpc.method.has_streams
        counts, most = (self._streams, self._max_streams) if streams else (self._calls, self._max_calls)
        caller = _caller(rpc.context)
        if counts[caller] >= most:
            raise GatewayError(
                error_pb2.ERROR_REASON_TOO_MANY_REQUESTS,
                f"The caller has {most} {'streams' if streams else 'calls'} in flight, which is as many as it may.",
                outcome=error_pb2.OUTCOME_NOT_SENT,
                retry_after_seconds=_RETRY_SECONDS,
            )
        counts[caller] += 1
        try:
            return await rpc.proceed()
        finally:
            counts[caller] -= 1
            if not counts[caller]:
                del counts[caller]


def _caller(context: Context) -> str:
    grant = access.current()
    # Without a policy: the address, without the port, of which a caller may have many.
    return context.peer().rpartition(":")[0] if grant is None else grant.caller.identity
