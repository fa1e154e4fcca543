"""How a failure of the storage looks to the gateway."""

import sqlite3

from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2

__all__ = ["closed", "unavailable"]

_RETRY_AFTER_SECONDS = 1.0


def unavailable(cause: sqlite3.Error) -> GatewayError:
    """Build the error for a call that the storage failed."""
    name = getattr(cause, "sqlite_errorname", None) or type(cause).__name__
    error = _error(f"The event log's storage fails ({name}).")
    error.__cause__ = cause
    return error


def closed() -> GatewayError:
    """Build the error for a call to a log that is closed."""
    return _error("The event log is closed.")


def _error(message: str) -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE,
        message,
        outcome=error_pb2.OUTCOME_REJECTED,
        retry_after_seconds=_RETRY_AFTER_SECONDS,
    )
