"""The running gateway: both servers, started together and drained together."""

import asyncio
import ssl
from dataclasses import dataclass

import structlog

from gateway.aio.sockets import Addresses, join
from gateway.edge.server import EdgeServer
from gateway.grpc_api.server import RpcServer
from gateway.grpc_api.services.backfills import OrderedBackfills
from gateway.grpc_api.services.callbacks import CallbackServicer
from gateway.notifications.watch import Watchers
from gateway.settings import Settings
from gateway.telemetry.readiness import Readiness

__all__ = ["Gateway"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    """Both servers, and the streams to end at shutdown."""

    settings: Settings
    rpc: RpcServer
    edge: EdgeServer
    edge_tls: ssl.SSLContext
    watchers: Watchers
    backfills: OrderedBackfills
    callbacks: CallbackServicer
    readiness: Readiness
    admin: str
    """The admin server's address, as ``host:port``."""

    async def start(self) -> Addresses:
        """Start to serve.

        Raises:
            OSError: A port is not available.
        """
        edge = self.settings.edge
        edge_port = await self.edge.start(edge.host, edge.port, self.edge_tls, reuse_port=edge.reuse_port)
        await self.rpc.start()
        addresses = Addresses(join(self.settings.grpc.host, self.rpc.port), join(edge.host, edge_port), self.admin)
        self.readiness.phase = "serving"
        return addresses

    async def stop(self) -> None:
        """Drain: change the health status, redirect streams, complete calls in flight."""
        grace_seconds = self.settings.drain_grace_seconds
        _log.info("drain_started", grace_seconds=grace_seconds)
        self.readiness.phase = "draining"
        await self.rpc.drain()
        self.watchers.drain()
        self.backfills.drain()
        self.callbacks.drain()
        await asyncio.gather(self.rpc.stop(grace_seconds), self._stop_edge())
        _log.info("gateway_stopped")

    async def _stop_edge(self) -> None:
        await self.edge.stop()
        # Not earlier: until now a callback may have waited for a handler's reply.
        await self.callbacks.close()
