"""What happens around every rpc, from the outside in: correlation id, errors, validation."""

from gateway.rpc.interceptors.correlation import CorrelationInterceptor
from gateway.rpc.interceptors.errors import ErrorInterceptor
from gateway.rpc.interceptors.validation import ValidationInterceptor

__all__ = ["CorrelationInterceptor", "ErrorInterceptor", "ValidationInterceptor"]
