"""Refuses a request that breaks its contract, before any code of ours sees it."""

from typing import Any

from gateway.grpc_api.interceptors.chain import Interceptor, Rpc
from gateway.validation.validator import Validation

__all__ = ["ValidationInterceptor"]


class ValidationInterceptor(Interceptor):
    """Checks every request against the rules of its contract and names the fields that break one."""

    def __init__(self, validation: Validation) -> None:
        """Prepare.

        Args:
            validation: Checks them.
        """
        self._validation = validation

    async def serve(self, rpc: Rpc) -> Any:
        """Check, then proceed. The requests of a stream are its service's to check.

        Raises:
            GatewayError: INVALID_REQUEST.
        """
        if not rpc.method.has_request_stream:
            self._validation.check(rpc.request)
        return await rpc.proceed()
