"""Limits how many calls each caller has in flight, and how many probes each connection."""

from collections import defaultdict
from typing import Any, Final

from gateway.auth import grant as access
from gateway.errors import GatewayError
from gateway.grpc_api.interceptors.chain import Context, Interceptor, Rpc
from issuer.common.v1 import error_pb2

__all__ = ["QuotaInterceptor"]

_RETRY_SECONDS: Final = 1.0
_PROBES: Final = "/grpc.health.v1.Health/"
"""Counted apart: a busy caller's health probes must not fail."""
_MAX_PROBES: Final = 8
"""For each connection, because nobody identifies who probes: one watch of each service, and checks between them."""


class QuotaInterceptor(Interceptor):
    """Counts the calls in flight by caller; must be right inside the access interceptor, which identifies it."""

    def __init__(self, *, max_calls: int, max_streams: int) -> None:
        """Set the limits.

        Args:
            max_calls: Limit on a caller's rpcs without streams.
            max_streams: Limit on a caller's rpcs with streams.
        """
        self._max_calls = max_calls
        self._max_streams = max_streams
        self._calls: defaultdict[str, int] = defaultdict(int)
        self._streams: defaultdict[str, int] = defaultdict(int)
        self._probes: defaultdict[str, int] = defaultdict(int)

    @property
    def max_in_flight(self) -> int:
        """The limit on a caller's rpcs of both kinds, and on probes, over one connection."""
        return self._max_calls + self._max_streams + _MAX_PROBES

    async def serve(self, rpc: Rpc) -> Any:
        """Proceed if the caller is below its limit.

        Raises:
            GatewayError: TOO_MANY_REQUESTS.
        """
        counts, limit, what = self._limit(rpc)
        caller = rpc.context.peer() if counts is self._probes else _caller(rpc.context)
        if counts[caller] >= limit:
            raise GatewayError(
                error_pb2.ERROR_REASON_TOO_MANY_REQUESTS,
                f"Concurrency limit reached: {limit} {what} in flight",
                outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
                retry_after_seconds=_RETRY_SECONDS,
            )
        counts[caller] += 1
        try:
            return await rpc.proceed()
        finally:
            counts[caller] -= 1
            if not counts[caller]:
                del counts[caller]

    def _limit(self, rpc: Rpc) -> tuple[defaultdict[str, int], int, str]:
        if rpc.method.path.startswith(_PROBES):
            return self._probes, _MAX_PROBES, "health calls of the connection"
        if rpc.method.has_streams:
            return self._streams, self._max_streams, "streams"
        return self._calls, self._max_calls, "calls"


def _caller(context: Context) -> str:
    grant = access.current()
    # Without a policy: the address without the port, because a caller may use many ports.
    return context.peer().rpartition(":")[0] if grant is None else grant.caller.identity
