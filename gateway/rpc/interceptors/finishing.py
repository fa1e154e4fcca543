"""Lets changes be finished whose callers leave."""

from typing import Any

from google.protobuf.message import Message

from gateway.idempotency.requests import mutating_rpc
from gateway.rpc.finishing import Finishing
from gateway.rpc.interceptors.around import Context, Proceed, RequestStream, ServingInterceptor

__all__ = ["FinishingInterceptor"]


class FinishingInterceptor(ServingInterceptor):
    """What stands around it ends with the caller; what stands within is finished, if the rpc changes something."""

    def __init__(self, finishing: Finishing) -> None:
        """Prepare.

        Args:
            finishing: Runs the changes.
        """
        super().__init__()
        self._finishing = finishing

    async def serve(
        self, method: str, request: Message | RequestStream | None, context: Context, proceed: Proceed
    ) -> Any:
        """Proceed, in a task of its own if that changes something."""
        del request, context
        if mutating_rpc(method) is None:
            return await proceed()
        return await self._finishing.run(proceed(), method)
