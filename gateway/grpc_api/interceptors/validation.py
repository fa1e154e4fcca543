"""Rejects an invalid request before any other code sees it."""

from typing import Any

from gateway.grpc_api.interceptors.chain import Interceptor, Rpc
from gateway.validation.validator import Validation

__all__ = ["ValidationInterceptor"]


class ValidationInterceptor(Interceptor):
    """Checks every request against its contract."""

    def __init__(self, validation: Validation) -> None:
        self._validation = validation

    async def serve(self, rpc: Rpc) -> Any:
        """Check the request, then proceed. The servicer checks the requests of a stream itself.

        Raises:
            GatewayError: INVALID_REQUEST.
        """
        if rpc.request is not None:
            self._validation.check(rpc.request)
        return await rpc.proceed()
