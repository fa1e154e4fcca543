"""Refuses a request that breaks its contract, before any code of ours sees it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from google.protobuf.message import Message

from gateway.rpc.interceptors.around import AroundInterceptor, Context, RequestStream
from gateway.validation import Validation

__all__ = ["ValidationInterceptor"]


class ValidationInterceptor(AroundInterceptor):
    """Checks every request against the rules of its contract and names the fields that break one."""

    def __init__(self, validation: Validation) -> None:
        """Prepare.

        Args:
            validation: Checks them.
        """
        super().__init__()
        self._validation = validation

    @asynccontextmanager
    async def around(
        self, method: str, request: Message | RequestStream | None, context: Context
    ) -> AsyncIterator[None]:
        """Check, then go on. The requests of a stream are its service's to check.

        Raises:
            GatewayError: INVALID_REQUEST.
        """
        del method, context
        if not isinstance(request, RequestStream):
            self._validation.check(request)
        yield
