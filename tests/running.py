"""A gateway in this process, between a D1 simulator and its callers, all over real TLS connections."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, cast

import aiohttp
import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from gateway import bootstrap, settings
from gateway.aio.sockets import Addresses
from gateway.settings import Settings
from gateway.version import HEADER, VERSION
from issuer.callback.v1 import service_pb2_grpc as callback_grpc
from issuer.card.v1 import service_pb2_grpc as card_grpc
from issuer.common.v1.error_pb2 import ErrorDetail, ErrorOutcome, ErrorReason
from issuer.consumer.v1 import service_pb2_grpc as consumer_grpc
from issuer.notification.v1 import service_pb2_grpc as notification_grpc
from issuer.threeds.v1 import service_pb2_grpc as threeds_grpc
from sandbox import Sandbox
from sandbox.common.pki import Identity
from sandbox.common.tls import client_context
from sandbox.d1.callbacks.notifier import EdgeCredentials
from sandbox.gateway import GatewayConfig, channel

__all__ = [
    "SECOND_ISSUER",
    "Error",
    "Failure",
    "Running",
    "code_of",
    "connected",
    "consumer_notification_path",
    "edge_session",
    "edge_tls",
    "failure_of",
    "notification_path",
    "running_gateway",
    "settings_for",
]

SECOND_ISSUER = "SANDBOX002"
"""A second issuer for the gateway's settings; D1 does not know it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running gateway, and its clients."""

    sandbox: Sandbox
    addresses: Addresses
    channel: grpc.aio.Channel
    event_log: Path
    cards: "card_grpc.CardServiceAsyncStub"
    notifications: "notification_grpc.NotificationServiceAsyncStub"
    authentication: "threeds_grpc.AuthenticationServiceAsyncStub"
    consumers: "consumer_grpc.ConsumerServiceAsyncStub"
    operations: "threeds_grpc.ThreeDSOperationServiceAsyncStub"
    callbacks: "callback_grpc.CallbackServiceAsyncStub"

    @property
    def edge(self) -> str:
        return f"https://{self.addresses.edge}"


@asynccontextmanager
async def running_gateway(sandbox: Sandbox, used: Settings) -> AsyncIterator[Running]:
    """Run a gateway for the duration of the block."""
    async with bootstrap.running(used) as addresses, connected(sandbox, used, addresses) as running:
        yield running


@asynccontextmanager
async def connected(sandbox: Sandbox, used: Settings, addresses: Addresses) -> AsyncIterator[Running]:
    """Connect to a running gateway, and set its edge in the sandbox's D1."""
    async with channel(addresses.grpc, sandbox.pki) as opened:
        sandbox.set_edge(f"https://{addresses.edge}")
        yield Running(
            sandbox,
            addresses,
            opened,
            used.event_log.path,
            card_grpc.CardServiceStub(opened),
            notification_grpc.NotificationServiceStub(opened),
            threeds_grpc.AuthenticationServiceStub(opened),
            consumer_grpc.ConsumerServiceStub(opened),
            threeds_grpc.ThreeDSOperationServiceStub(opened),
            callback_grpc.CallbackServiceStub(opened),
        )


def settings_for(
    sandbox: Sandbox,
    folder: Path,
    *,
    oauth: EdgeCredentials | None = None,
    second_issuer: bool = False,
    clients: Mapping[str, Identity] = MappingProxyType({}),
    d1_timeout_seconds: float = 10.0,
    drain_grace_seconds: float = 5.0,
    circuit_failures: int = 1_000_000,
    result_wait_seconds: float = 0.05,
) -> Settings:
    """Write a configuration file and load it, as `d1-gateway serve` does.

    By default no circuit breaker opens: most tests make many calls in a row fail. And requests for results are held
    briefly: most tests do not care. `clients` are the client certificates of issuers with one of their own.
    """
    file = folder / "d1-gateway.toml"
    file.write_text(GatewayConfig.of(sandbox, folder, oauth=oauth).to_toml())
    loaded = settings.load(file)
    issuers = dict(loaded.issuers)
    if second_issuer:
        issuers[SECOND_ISSUER] = issuers[sandbox.issuer_id]
    for issuer_id, client in clients.items():
        files = {"tls_certificate_file": client.certificate, "tls_key_file": client.key}
        issuers[issuer_id] = issuers[issuer_id].model_copy(update=files)
    breaking = {"circuit_failures": circuit_failures}
    results = loaded.callbacks.authentication_result.model_copy(update={"wait_seconds": result_wait_seconds})
    return loaded.model_copy(
        update={
            "issuers": issuers,
            "d1": loaded.d1.model_copy(update={"total_timeout_seconds": d1_timeout_seconds, **breaking}),
            "threeds": loaded.threeds and loaded.threeds.model_copy(update=breaking),
            "drain_grace_seconds": drain_grace_seconds,
            "callbacks": loaded.callbacks.model_copy(update={"authentication_result": results}),
        }
    )


class Error(NamedTuple):
    """The error of a failed call, for comparisons."""

    code: grpc.StatusCode
    reason: str
    outcome: str = "REJECTED"
    retry_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The status of a failed call."""

    code: grpc.StatusCode
    message: str
    reason: str
    outcome: str
    metadata: Mapping[str, str]
    detail: ErrorDetail
    violations: Mapping[str, str]
    """The violated rule of each invalid field."""
    descriptions: Mapping[str, str]
    """The rule in words, by field."""
    retry_seconds: float | None

    @property
    def error(self) -> Error:
        return Error(self.code, self.reason, self.outcome, self.retry_seconds)


async def _error_of(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"the call succeeded: {type(answer).__name__}")


async def code_of(call: Awaitable[object]) -> grpc.StatusCode:
    """Await a call that must fail, maybe before it reaches the gateway, and return its code."""
    return (await _error_of(call)).code()


async def failure_of(call: Awaitable[object]) -> Failure:
    """Await a call that must fail, and return its status, whose typed detail must say what its ErrorInfo says."""
    error = await _error_of(call)
    # The stubs exclude asyncio errors, but the function reads them just as well.
    status = rpc_status.from_call(cast("grpc.Call", error))
    assert status is not None, f"a status without details: {error.code().name}, {error.details()}"
    info, bad_request, retry = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.BadRequest(),
        error_details_pb2.RetryInfo(),
    )
    detail = ErrorDetail()
    parts = info, bad_request, retry, detail
    found = {type(part) for each in status.details for part in parts if each.Unpack(part)}
    assert {type(info), type(detail)} <= found
    assert info.domain == "d1-gateway"
    assert info.reason == ErrorReason.Name(detail.reason).removeprefix("ERROR_REASON_")
    assert info.metadata["outcome"] == ErrorOutcome.Name(detail.outcome).removeprefix("ERROR_OUTCOME_")
    assert info.metadata.get("upstream", "") == detail.upstream
    metadata = {str(key): str(value) for key, value in (error.trailing_metadata() or ())}
    assert info.metadata["correlation_id"] == detail.correlation_id == metadata["x-correlation-id"]
    assert metadata[HEADER] == VERSION
    return Failure(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason,
        outcome=info.metadata["outcome"],
        metadata=dict(info.metadata),
        detail=detail,
        violations={violation.field: violation.reason for violation in bad_request.field_violations},
        descriptions={violation.field: violation.description for violation in bad_request.field_violations},
        retry_seconds=retry.retry_delay.ToTimedelta().total_seconds() if type(retry) in found else None,
    )


def edge_tls(sandbox: Sandbox) -> ssl.SSLContext:
    """Return D1's TLS context for calls of the edge."""
    return client_context(sandbox.pki.d1_client, sandbox.pki.server_ca)


@asynccontextmanager
async def edge_session(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """Open an HTTP client with D1's certificate."""
    connector = aiohttp.TCPConnector(ssl=edge_tls(sandbox))
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


def notification_path(card_id: str, issuer_id: str = "SANDBOX001") -> str:
    """Return the path of notifications about a card."""
    return f"/notifications/d1/v1/issuers/{issuer_id}/cards/{card_id}/3ds/notifications"


def consumer_notification_path(consumer_id: str, issuer_id: str = "SANDBOX001") -> str:
    """Return the path of notifications about a consumer."""
    return f"/banking/d1/v1/issuers/{issuer_id}/consumers/{consumer_id}/notifications"
