"""Health (`grpc.health.v1`) per service. It stays NOT_SERVING once the drain begins."""

import asyncio
import contextlib
from collections.abc import Iterable

from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2

from gateway.grpc_api.endless import EndlessStreams
from gateway.grpc_api.interceptors.chain import Context

__all__ = ["Health"]

_NOTIFY_SECONDS = 1.0
_FLUSH_SECONDS = 0.1


class Health(health.aio.HealthServicer):
    """The standard service, with watches that end at shutdown instead of using up its grace period."""

    def __init__(self, endless: EndlessStreams) -> None:
        """Run the watches among the endless streams."""
        super().__init__()
        self._endless = endless
        self._services: tuple[str, ...] = ("",)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Stream a service's status until the caller or the gateway ends it."""
        await self._endless.run(super().Watch(request, context))

    async def List(self, _request: Message, context: Context) -> Message:
        """Return the status of every service and of the server as a whole."""
        checks = {name: health_pb2.HealthCheckRequest(service=name) for name in self._services}
        statuses = {name: await self.Check(check, context) for name, check in checks.items()}
        # The type stubs are older than this rpc.
        response: Message = health_pb2.HealthListResponse(statuses=statuses)  # type: ignore[attr-defined]
        return response

    async def serve(self, services: Iterable[str]) -> None:
        """Report SERVING for the services and for the server as a whole."""
        self._services = ("", *services)
        for service in self._services:
            await self.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self) -> None:
        """Report NOT_SERVING from now on, so that load balancers and clients go elsewhere."""
        # A watcher that does not read must not delay the others or the shutdown.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NOTIFY_SECONDS):
                await self.enter_graceful_shutdown()
        if self._endless:
            await asyncio.sleep(_FLUSH_SECONDS)
