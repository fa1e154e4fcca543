"""The gRPC server: services, health, reflection, and an end without cut-off calls."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gateway.aio.sockets import cannot_listen, join
from gateway.auth.issuers import Issuers
from gateway.grpc_api.health import Health
from gateway.grpc_api.interceptors import (
    AccessInterceptor,
    CorrelationInterceptor,
    DetachedCallInterceptor,
    DrainInterceptor,
    ErrorInterceptor,
    IdempotencyInterceptor,
    IssuerInterceptor,
    QuotaInterceptor,
    TelemetryInterceptor,
    ValidationInterceptor,
)
from gateway.grpc_api.interceptors.chain import Chain
from gateway.grpc_api.interceptors.shield import DetachedCalls
from gateway.grpc_api.servicer import Servicer, register
from gateway.validation.validator import Validation

__all__ = ["RpcServer"]

_MAX_METADATA_BYTES: Final = 16_384
# Within a connection, beyond what its caller may have in flight: for probes, and for what is about to be refused.
_SPARE_STREAMS: Final = 16
# Far more than a round trip to a caller, far less than anybody's deadline.
_LULL_SECONDS: Final = 0.05
_OPTIONS: Mapping[str, int] = MappingProxyType(
    {
        # A dead link is noticed, and its watcher's seat freed, within half a minute.
        "grpc.keepalive_time_ms": 20_000,
        "grpc.keepalive_timeout_ms": 10_000,
        # Clients may look after their own link as often as every 10 s.
        "grpc.http2.min_ping_interval_without_data_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 1,
        # Who does not get through the TLS handshake must not hold a connection for the two minutes of grpc's default.
        "grpc.server_handshake_timeout_ms": 10_000,
        # One bound instead of grpc's two, between which it refuses by chance. A bearer token may have 8 KiB.
        "grpc.max_metadata_size": _MAX_METADATA_BYTES,
        "grpc.absolute_max_metadata_size": _MAX_METADATA_BYTES,
    }
)


class RpcServer:
    """Serves internal callers on one port."""

    def __init__(
        self,
        *,
        servicers: Sequence[Servicer],
        issuers: Issuers,
        validation: Validation,
        telemetry: TelemetryInterceptor,
        access: AccessInterceptor,
        quota: QuotaInterceptor,
        idempotency: IdempotencyInterceptor,
        host: str,
        port: int,
        reuse_port: bool = False,
        credentials: grpc.ServerCredentials | None,
        max_message_bytes: int,
    ) -> None:
        """Assemble the server.

        Args:
            servicers: Serve one service each; what none of them serves, there is not.
            issuers: The configured ones.
            validation: Checks every request.
            telemetry: Measures every rpc.
            access: Lets in whom the policy grants something.
            quota: Gives no caller more than its share.
            idempotency: Answers repeated calls.
            host: Address to listen on.
            port: TCP port; 0 takes a free one.
            reuse_port: Whether other processes may listen there too.
            credentials: TLS; None for plaintext.
            max_message_bytes: Largest request.

        Raises:
            OSError: The port cannot be had.
        """
        self._finishing = DetachedCalls()
        self._drain_interceptor = DrainInterceptor()
        chain = Chain(
            CorrelationInterceptor(),
            ErrorInterceptor(),
            self._drain_interceptor,
            telemetry,
            access,
            quota,
            ValidationInterceptor(validation),
            IssuerInterceptor(issuers),
            DetachedCallInterceptor(self._finishing),
            idempotency,
        )
        options = {
            **_OPTIONS,
            # Unless told, a second process must fail to start, not take half of the connections.
            "grpc.so_reuseport": int(reuse_port),
            "grpc.max_receive_message_length": max_message_bytes,
            "grpc.max_concurrent_streams": quota.max_in_flight + _SPARE_STREAMS,
        }
        self._server = grpc.aio.server(interceptors=(chain,), options=[*options.items()])
        self._health = Health()
        self._services = _add_services(servicers, self._health, self._server)
        for service in self._services:
            validation.prepare(service)
        _try(host, port, reuse_port=reuse_port)
        self.port: int = _listen(self._server, join(host, port), credentials)

    async def start(self) -> None:
        """Begin to serve, and say so in health."""
        await self._server.start()
        await self._health.serve(self._services)

    async def drain(self) -> None:
        """Say NOT_SERVING for good, so that load balancers and clients go elsewhere."""
        await self._health.drain()

    async def stop(self, grace_seconds: float) -> None:
        """Take no new calls, let those in flight finish within the grace, cancel the rest."""
        loop = asyncio.get_running_loop()
        end = loop.time() + grace_seconds
        lull_seconds = min(_LULL_SECONDS, grace_seconds / 4)
        with self._drain_interceptor.holding():
            # Who was answered a moment ago has called again by then.
            await asyncio.sleep(lull_seconds)
            stopping = asyncio.create_task(self._server.stop(end - loop.time()))
            # And whoever waits has been told to go elsewhere by then.
            await asyncio.sleep(lull_seconds)
        await asyncio.shield(stopping)
        await self._finishing.drain(end - loop.time())


def _add_services(servicers: Sequence[Servicer], told: Health, server: grpc.aio.Server) -> Sequence[str]:
    """Let a server serve services, their health and their reflection. Returns the services' full names."""
    services = [register(servicer, server) for servicer in servicers]
    health_pb2_grpc.add_HealthServicer_to_server(told, server)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return services


def _try(host: str, port: int, *, reuse_port: bool) -> None:
    # grpc tells what is wrong with an address on standard error only, past our logs.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse_port))
            # It never listens: connections meant for other processes would come to it.
            tried.bind((host, port))
    except OSError as error:
        raise cannot_listen("grpc", host, port, error) from error


def _listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"grpc: cannot listen on {address}: {error}") from error
