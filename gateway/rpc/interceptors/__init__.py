"""What happens around every rpc, from the outside in.

Correlation id, errors, parting, telemetry, access, quota, validation, finishing, idempotency.
"""

from gateway.rpc.interceptors.access import AccessInterceptor
from gateway.rpc.interceptors.correlation import CorrelationInterceptor
from gateway.rpc.interceptors.errors import ErrorInterceptor
from gateway.rpc.interceptors.finishing import FinishingInterceptor
from gateway.rpc.interceptors.idempotency import IdempotencyInterceptor
from gateway.rpc.interceptors.parting import PartingInterceptor
from gateway.rpc.interceptors.quota import QuotaInterceptor
from gateway.rpc.interceptors.telemetry import TelemetryInterceptor
from gateway.rpc.interceptors.validation import ValidationInterceptor

__all__ = [
    "AccessInterceptor",
    "CorrelationInterceptor",
    "ErrorInterceptor",
    "FinishingInterceptor",
    "IdempotencyInterceptor",
    "PartingInterceptor",
    "QuotaInterceptor",
    "TelemetryInterceptor",
    "ValidationInterceptor",
]
