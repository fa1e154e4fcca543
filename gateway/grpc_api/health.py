"""Health (`grpc.health.v1`): per service, and NOT_SERVING for good once a shutdown begins."""

import asyncio
import contextlib
from collections.abc import Iterable

from grpc_health.v1 import health, health_pb2

from gateway.grpc_api.interceptors.chain import Context

__all__ = ["Health"]

_TELL_SECONDS = 1.0
_LAST_WORD_SECONDS = 0.1


class Health(health.aio.HealthServicer):
    """The standard service, whose watches end with the shutdown instead of outlasting its grace."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Task[object]] = set()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Stream a service's status until the caller goes or the gateway does."""
        watch = asyncio.current_task()
        if watch is None:
            raise RuntimeError("grpc.aio runs every rpc in a task")
        self._watches.add(watch)
        try:
            await super().Watch(request, context)
        finally:
            self._watches.discard(watch)

    async def serve(self, services: Iterable[str]) -> None:
        """Say SERVING of the services, and of the server as a whole."""
        for service in ("", *services):
            await self.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Say NOT_SERVING for good, so that load balancers and clients go elsewhere, and end the watches."""
        # A watcher that takes nothing must not hold up the others, nor the shutdown.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TELL_SECONDS):
                await self.enter_graceful_shutdown()
        if self._watches:
            await asyncio.sleep(_LAST_WORD_SECONDS)
        for watch in tuple(self._watches):
            watch.cancel()
