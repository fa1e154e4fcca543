"""Refuses a request that breaks its contract, before any code of ours sees it."""

from typing import Any

from google.protobuf.message import Message

from gateway.rpc.interceptors.around import Context, Proceed, RequestStream, ServingInterceptor
from gateway.validation import Validation

__all__ = ["ValidationInterceptor"]


class ValidationInterceptor(ServingInterceptor):
    """Checks every request against the rules of its contract and names the fields that break one."""

    def __init__(self, validation: Validation) -> None:
        """Prepare.

        Args:
            validation: Checks them.
        """
        super().__init__()
        self._validation = validation

    async def serve(
        self, method: str, request: Message | RequestStream | None, context: Context, proceed: Proceed
    ) -> Any:
        """Check, then proceed. The requests of a stream are its service's to check.

        Raises:
            GatewayError: INVALID_REQUEST.
        """
        del method, context
        if not isinstance(request, RequestStream):
            self._validation.check(request)
        return await proceed()
