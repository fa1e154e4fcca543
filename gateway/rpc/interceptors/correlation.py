"""Gives every rpc its correlation id."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from google.protobuf.message import Message

from gateway import correlation
from gateway.rpc.interceptors.around import AroundInterceptor, Context, RequestStream

__all__ = ["CorrelationInterceptor"]


class CorrelationInterceptor(AroundInterceptor):
    """Takes the caller's correlation id, or makes one, and sends it back in the trailing metadata.

    An id that D1 would not take is replaced: a caller's tracing must not fail its payments.
    """

    @asynccontextmanager
    async def around(
        self, method: str, request: Message | RequestStream | None, context: Context
    ) -> AsyncIterator[None]:
        """Set the id for the task that serves the rpc."""
        del method, request
        metadata = context.invocation_metadata() or ()
        given = next((value for key, value in metadata if key == correlation.HEADER), None)
        correlation_id = given if isinstance(given, str) and correlation.is_valid(given) else correlation.new()
        correlation.use(correlation_id)
        context.set_trailing_metadata(((correlation.HEADER, correlation_id),))
        yield
