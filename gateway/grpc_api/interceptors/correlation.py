"""Gives every rpc its correlation id."""

from typing import Any

from gateway.grpc_api.interceptors.chain import Interceptor, Rpc
from gateway.logging import correlation

__all__ = ["CorrelationInterceptor"]


class CorrelationInterceptor(Interceptor):
    """Takes the caller's correlation id, or makes one, and sends it back in the trailing metadata.

    An id that D1 would not take is replaced: a caller's tracing must not fail its payments.
    """

    async def serve(self, rpc: Rpc) -> Any:
        """Set the id for the task that serves the rpc, then proceed."""
        given = next((value for key, value in rpc.metadata if key == correlation.HEADER), None)
        correlation_id = given if isinstance(given, str) and correlation.is_valid(given) else correlation.new()
        correlation.use(correlation_id)
        rpc.context.set_trailing_metadata(((correlation.HEADER, correlation_id),))
        return await rpc.proceed()
