"""Parts of the gateway used by baselines, so that they differ in nothing else."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from adapters.d1.callbacks import QUIET_ROUTES
from adapters.d1.callbacks.notifications import Notifications
from gateway.auth.issuers import Issuers
from gateway.edge.auth_client_certificate import Clients
from gateway.edge.platform import PlatformCallbacks
from gateway.edge.server import EdgeServer
from gateway.edge.telemetry import EdgeTelemetry
from gateway.ports import Appendable
from gateway.ports.meter import Unmeasured
from gateway.settings import GrpcSettings, Settings
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Tracing
from gateway.tls import contexts

__all__ = ["credentials", "edge", "settle"]

# As in `d1-gateway serve`, so that no server gains by collecting garbage less often.
_GC_THRESHOLD = (10_000, 20, 50)


@asynccontextmanager
async def edge(settings: Settings, log: Appendable) -> AsyncIterator[int]:
    """Append 3DS notifications to a log for the duration of the block. Yield the port."""
    issuers = Issuers(settings.issuers)
    server = EdgeServer(
        callbacks=PlatformCallbacks(Notifications(issuers, log, Unmeasured()).routes(), quiet_routes=QUIET_ROUTES),
        clients=Clients(),
        tokens=None,
        telemetry=EdgeTelemetry(issuers, Metrics(), Tracing()),
        settings=settings.edge,
        drain_grace_seconds=settings.drain_grace_seconds,
    )
    try:
        yield await server.start(settings.edge.host, 0, contexts.edge_context(settings.edge))
    finally:
        await server.stop()


def credentials(settings: GrpcSettings) -> grpc.ServerCredentials:
    """Return the credentials of a gRPC port.

    Raises:
        RuntimeError: The settings have no mutual TLS for internal callers.
    """
    certificate, key, ca = settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file
    if certificate is None or key is None or ca is None:
        raise RuntimeError("The settings have no mutual TLS for gRPC.")
    return grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())], ca.read_bytes(), require_client_auth=True
    )


def settle() -> None:
    """Exclude start-up objects from garbage collection; called once everything serves."""
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLD)
