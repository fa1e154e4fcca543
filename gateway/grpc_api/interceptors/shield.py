"""Lets changes be finished whose callers leave."""

from typing import Any

from gateway.grpc_api.interceptors.chain import Interceptor, Rpc
from gateway.grpc_api.shield import Finishing
from gateway.idempotency.requests import mutating_rpc

__all__ = ["FinishingInterceptor"]


class FinishingInterceptor(Interceptor):
    """What stands around it ends with the caller; what stands within is finished, if the rpc changes something."""

    def __init__(self, finishing: Finishing) -> None:
        """Prepare.

        Args:
            finishing: Runs the changes.
        """
        self._finishing = finishing

    async def serve(self, rpc: Rpc) -> Any:
        """Proceed, in a task of its own if that changes something."""
        if mutating_rpc(rpc.method.path) is None:
            return await rpc.proceed()
        return await self._finishing.run(rpc.proceed(), rpc.method.path)
