"""The interceptors around every rpc, from the outside in.

Correlation id, errors, drain, telemetry, access, quota, request, validation, issuer, detached calls, idempotency. Where
there is an audit trail: refusals outside access, changes outside idempotency, and attempts innermost.
"""

from gateway.grpc_api.interceptors.access import AccessInterceptor, IssuerInterceptor
from gateway.grpc_api.interceptors.audit import AttemptInterceptor, ChangeInterceptor, RefusalInterceptor
from gateway.grpc_api.interceptors.drain import DrainInterceptor
from gateway.grpc_api.interceptors.errors import CorrelationInterceptor, ErrorInterceptor
from gateway.grpc_api.interceptors.idempotency import IdempotencyInterceptor
from gateway.grpc_api.interceptors.quota import QuotaInterceptor
from gateway.grpc_api.interceptors.request import RequestInterceptor
from gateway.grpc_api.interceptors.shield import DetachedCallInterceptor
from gateway.grpc_api.interceptors.telemetry import TelemetryInterceptor
from gateway.grpc_api.interceptors.unknown import UnknownRpcInterceptor
from gateway.grpc_api.interceptors.validation import ValidationInterceptor

__all__ = [
    "AccessInterceptor",
    "AttemptInterceptor",
    "ChangeInterceptor",
    "CorrelationInterceptor",
    "DetachedCallInterceptor",
    "DrainInterceptor",
    "ErrorInterceptor",
    "IdempotencyInterceptor",
    "IssuerInterceptor",
    "QuotaInterceptor",
    "RefusalInterceptor",
    "RequestInterceptor",
    "TelemetryInterceptor",
    "UnknownRpcInterceptor",
    "ValidationInterceptor",
]
