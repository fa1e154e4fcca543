"""The gRPC server: its services, health, reflection, and a drain that cuts no call off."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health, health_pb2_grpc

from gateway.aio.sockets import cannot_listen, join
from gateway.audit.recorder import Recorder
from gateway.auth.issuers import Issuers
from gateway.grpc_api import reflection
from gateway.grpc_api.endless import EndlessStreams
from gateway.grpc_api.health import Health
from gateway.grpc_api.interceptors import (
    AccessInterceptor,
    AttemptInterceptor,
    ChangeInterceptor,
    CorrelationInterceptor,
    DetachedCallInterceptor,
    DrainInterceptor,
    ErrorInterceptor,
    IdempotencyInterceptor,
    IssuerInterceptor,
    QuotaInterceptor,
    RefusalInterceptor,
    RequestInterceptor,
    TelemetryInterceptor,
    UnknownRpcInterceptor,
    ValidationInterceptor,
)
from gateway.grpc_api.interceptors.access import MAX_METADATA_BYTES
from gateway.grpc_api.interceptors.chain import Chain
from gateway.grpc_api.interceptors.shield import DetachedCalls
from gateway.grpc_api.services import notifications
from gateway.grpc_api.services.authentication import AuthenticationServicer
from gateway.grpc_api.services.callbacks import CallbackServicer
from gateway.grpc_api.services.cards import CardServicer
from gateway.grpc_api.services.consumers import ConsumerServicer
from gateway.grpc_api.services.notifications import NotificationServicer
from gateway.grpc_api.services.operations import ThreeDSOperationServicer
from gateway.settings import GrpcSettings
from gateway.validation.validator import Validation
from issuer.callback.v1 import service_pb2 as callback_service
from issuer.callback.v1 import service_pb2_grpc as callback_grpc
from issuer.card.v1 import service_pb2 as card_service
from issuer.card.v1 import service_pb2_grpc as card_grpc
from issuer.consumer.v1 import service_pb2 as consumer_service
from issuer.consumer.v1 import service_pb2_grpc as consumer_grpc
from issuer.notification.v1 import service_pb2 as notification_service
from issuer.threeds.v1 import service_pb2 as threeds_service
from issuer.threeds.v1 import service_pb2_grpc as threeds_grpc

__all__ = ["SERVICES", "RpcServer", "Servicer"]

# Per connection, beyond the limits: for calls that are about to be rejected.
_SPARE_STREAMS: Final = 16
# Far more than a round trip to a caller, far less than any deadline.
_LULL_SECONDS: Final = 0.05
_OPTIONS: Mapping[str, int] = MappingProxyType(
    {
        # A dead connection is noticed, and its watcher's lease freed, within half a minute.
        "grpc.keepalive_time_ms": 20_000,
        "grpc.keepalive_timeout_ms": 10_000,
        # Clients may ping as often as every 10 s.
        "grpc.http2.min_ping_interval_without_data_ms": 10_000,
        "grpc.keepalive_permit_without_calls": 1,
        # grpc's default lets an unfinished TLS handshake hold a connection for two minutes.
        "grpc.server_handshake_timeout_ms": 10_000,
        # Who does not acknowledge the settings is not bound by them: the metadata of a call may have 16 MiB until then.
        "grpc.http2.settings_timeout": 5_000,
        # What grpc keeps of a request that nobody has asked for yet. Without this it is 4 MiB for each stream, and a
        # longer request gets room when the gateway asks for it.
        "grpc.http2.bdp_probe": 0,
        "grpc.http2.lookahead_bytes": 16_384,
        # Calls that wait for this process. By default grpc drops some at random from a thousand on.
        "grpc.server.max_pending_requests": 3_000,
        "grpc.server.max_pending_requests_hard_limit": 3_000,
        # One limit instead of grpc's two, between which it rejects at random.
        "grpc.max_metadata_size": MAX_METADATA_BYTES,
        "grpc.absolute_max_metadata_size": MAX_METADATA_BYTES,
    }
)

Servicer: TypeAlias = (
    AuthenticationServicer
    | CallbackServicer
    | CardServicer
    | ConsumerServicer
    | NotificationServicer
    | ThreeDSOperationServicer
)
"""A servicer of one of the gateway's services."""

_Add: TypeAlias = Callable[[Any, Any], None]

_SERVICES: Final[Mapping[type[Servicer], tuple[FileDescriptor, str, _Add]]] = MappingProxyType(
    {
        AuthenticationServicer: (
            threeds_service.DESCRIPTOR,
            "AuthenticationService",
            threeds_grpc.add_AuthenticationServiceServicer_to_server,
        ),
        CallbackServicer: (
            callback_service.DESCRIPTOR,
            "CallbackService",
            callback_grpc.add_CallbackServiceServicer_to_server,
        ),
        CardServicer: (card_service.DESCRIPTOR, "CardService", card_grpc.add_CardServiceServicer_to_server),
        ConsumerServicer: (
            consumer_service.DESCRIPTOR,
            "ConsumerService",
            consumer_grpc.add_ConsumerServiceServicer_to_server,
        ),
        NotificationServicer: (notification_service.DESCRIPTOR, "NotificationService", notifications.add_to_server),
        ThreeDSOperationServicer: (
            threeds_service.DESCRIPTOR,
            "ThreeDSOperationService",
            threeds_grpc.add_ThreeDSOperationServiceServicer_to_server,
        ),
    }
)


def _full_name(servicer: type[Servicer]) -> str:
    file, name, _ = _SERVICES[servicer]
    full_name: str = file.services_by_name[name].full_name
    return full_name


SERVICES: Final = tuple(map(_full_name, _SERVICES))
"""The full names of all services, configured or not."""


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
        audit: Recorder | None,
        settings: GrpcSettings,
        credentials: grpc.ServerCredentials | None,
    ) -> None:
        """Assemble the server.

        Args:
            servicers: One per service; other services are unknown.
            issuers: The configured issuers.
            validation: Checks every request.
            telemetry: Measures every rpc.
            access: Checks every caller against the policy.
            quota: Limits the calls of each caller.
            idempotency: Replays repeated calls.
            audit: Records changes and refusals; None to record none.
            settings: Address, and limits of a request.
            credentials: TLS credentials; None for plaintext.

        Raises:
            OSError: The server cannot listen on the port.
        """
        self._detached_calls = DetachedCalls(telemetry.count_detached)
        self._drain_interceptor = DrainInterceptor()
        self._request_interceptor = RequestInterceptor()
        outermost = (CorrelationInterceptor(), ErrorInterceptor(), self._drain_interceptor)
        self._services = [_full_name(type(servicer)) for servicer in servicers]
        standard = (health.SERVICE_NAME, *reflection.SERVICES)
        unknown = UnknownRpcInterceptor(access, telemetry, served=(*self._services, *standard), known=SERVICES)
        chain = Chain(
            *outermost,
            telemetry,
            *(() if audit is None else (RefusalInterceptor(audit, access),)),
            access,
            quota,
            self._request_interceptor,
            ValidationInterceptor(validation),
            IssuerInterceptor(issuers),
            DetachedCallInterceptor(self._detached_calls),
            *((idempotency,) if audit is None else (ChangeInterceptor(audit), idempotency, AttemptInterceptor(audit))),
            unknown=(*outermost, unknown),
        )
        self._server = grpc.aio.server(handlers=(chain,), options=_options(settings, quota.max_in_flight))
        self._endless = EndlessStreams()
        self._health = Health(self._endless)
        _add_services(servicers, self._health, chain)
        reflection.add_to_chain(chain, (*self._services, health.SERVICE_NAME), self._endless)
        # Probes do not wait behind other calls.
        self._server.add_registered_method_handlers(health.SERVICE_NAME, chain.of(health.SERVICE_NAME))
        for service in self._services:
            validation.prepare(service)
        _probe_port(settings.host, settings.port, reuse_port=settings.reuse_port)
        self.port: int = _listen(self._server, join(settings.host, settings.port), credentials)

    async def start(self) -> None:
        """Start serving, and report so in health."""
        await self._server.start()
        await self._health.serve(self._services)

    async def drain(self) -> None:
        """Report NOT_SERVING from now on, so that load balancers and clients go elsewhere; end what has no end."""
        self._request_interceptor.drain()
        await self._health.drain()
        self._endless.end()

    async def stop(self, grace_seconds: float) -> None:
        """Accept no new calls, let those in flight finish within the grace period, cancel the rest."""
        loop = asyncio.get_running_loop()
        end = loop.time() + grace_seconds
        lull_seconds = min(_LULL_SECONDS, grace_seconds / 4)
        with self._drain_interceptor.holding():
            # Callers that just got a reply have sent their next call by then.
            await asyncio.sleep(lull_seconds)
            stopping = asyncio.create_task(self._server.stop(end - loop.time()))
            # Callers that wait for a reply have got the GOAWAY by then.
            await asyncio.sleep(lull_seconds)
        await asyncio.shield(stopping)
        await self._detached_calls.drain(end - loop.time())


def _options(settings: GrpcSettings, max_in_flight: int) -> list[tuple[str, int]]:
    options = {
        **_OPTIONS,
        # By default a second process must fail to start, not take half of the connections.
        "grpc.so_reuseport": int(settings.reuse_port),
        "grpc.max_receive_message_length": settings.max_message_bytes,
        "grpc.max_concurrent_streams": max_in_flight + _SPARE_STREAMS,
        "grpc.max_allowed_incoming_connections": settings.max_connections,
    }
    return [*options.items()]


def _add_services(servicers: Sequence[Servicer], health_servicer: Health, chain: Chain) -> None:
    for servicer in servicers:
        _, _, add_to_server = _SERVICES[type(servicer)]
        chain.add(servicer, add_to_server)
    chain.add(health_servicer, health_pb2_grpc.add_HealthServicer_to_server)


def _probe_port(host: str, port: int, *, reuse_port: bool) -> None:
    # grpc reports a bad address on standard error only, bypassing the log.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse_port))
            # Never listen: connections meant for other processes would arrive here.
            probe.bind((host, port))
    except OSError as error:
        raise cannot_listen("grpc", host, port, error) from error


def _listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"grpc: cannot listen on {address}: {error}") from error
