"""Gives every rpc its correlation id."""

from typing import Any

from google.protobuf.message import Message

from gateway import correlation
from gateway.rpc.interceptors.around import Context, Proceed, RequestStream, ServingInterceptor

__all__ = ["CorrelationInterceptor"]


class CorrelationInterceptor(ServingInterceptor):
    """Takes the caller's correlation id, or makes one, and sends it back in the trailing metadata.

    An id that D1 would not take is replaced: a caller's tracing must not fail its payments.
    """

    async def serve(
        self, method: str, request: Message | RequestStream | None, context: Context, proceed: Proceed
    ) -> Any:
        """Set the id for the task that serves the rpc, then proceed."""
        del method, request
        metadata = context.invocation_metadata() or ()
        given = next((value for key, value in metadata if key == correlation.HEADER), None)
        correlation_id = given if isinstance(given, str) and correlation.is_valid(given) else correlation.new()
        correlation.use(correlation_id)
        context.set_trailing_metadata(((correlation.HEADER, correlation_id),))
        return await proceed()
