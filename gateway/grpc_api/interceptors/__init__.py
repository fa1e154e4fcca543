"""The interceptors around every rpc, from the outside in.

Correlation id, errors, drain, telemetry, access, quota, request, validation, issuer, detached calls, idempotency.
"""

from gateway.grpc_api.interceptors.access import AccessInterceptor, IssuerInterceptor
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
    "CorrelationInterceptor",
    "DetachedCallInterceptor",
    "DrainInterceptor",
    "ErrorInterceptor",
    "IdempotencyInterceptor",
    "IssuerInterceptor",
    "QuotaInterceptor",
    "RequestInterceptor",
    "TelemetryInterceptor",
    "UnknownRpcInterceptor",
    "ValidationInterceptor",
]
