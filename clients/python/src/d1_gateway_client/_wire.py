"""Errors from the wire: the details of the ``google.rpc.Status`` in the trailing metadata."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import betterproto2
import grpc

from d1_gateway_client import errors
from d1_gateway_client.contracts.google.rpc import BadRequest, RetryInfo, Status
from d1_gateway_client.contracts.message_pool import default_message_pool
from d1_gateway_client.errors import ErrorDetail, ErrorOutcome, Facts, FieldViolation, GatewayError

__all__ = ["error_of", "not_sent"]

_DETAILS = "grpc-status-details-bin"
_CORRELATION = "x-correlation-id"

_CLASSES: Mapping[grpc.StatusCode, type[GatewayError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.UNAUTHENTICATED: errors.UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDeniedError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExistsError,
    grpc.StatusCode.FAILED_PRECONDITION: errors.NotAllowedError,
    grpc.StatusCode.ABORTED: errors.RequestInFlightError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.RateLimitedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.OUT_OF_RANGE: errors.CursorExpiredError,
}

_Detail = TypeVar("_Detail", bound=betterproto2.Message)


def error_of(code: grpc.StatusCode, message: str | None, trailing: Iterable[tuple[str, str | bytes]]) -> GatewayError:
    """Return the `GatewayError` of a failed call, from its status, the status's text and its trailing metadata."""
    metadata = dict(trailing)
    status = _status(metadata.get(_DETAILS))
    detail = _detail(status, ErrorDetail) or ErrorDetail()
    detail.correlation_id = detail.correlation_id or str(metadata.get(_CORRELATION, ""))
    retry = _detail(status, RetryInfo)
    bad_request = _detail(status, BadRequest) or BadRequest()
    facts = Facts(
        code,
        message or "",
        detail,
        violations=tuple(
            FieldViolation(each.field, each.description, each.reason) for each in bad_request.field_violations
        ),
        retry_after_seconds=None if retry is None or retry.retry_delay is None else retry.retry_delay.total_seconds(),
    )
    return _CLASSES.get(code, GatewayError)(facts)


def not_sent(message: str) -> GatewayError:
    """Return the error of a call that got no connection."""
    return errors.UnavailableError(
        Facts(grpc.StatusCode.UNAVAILABLE, message, ErrorDetail(outcome=ErrorOutcome.NOT_SENT))
    )


def _status(details: str | bytes | None) -> Status:
    if not isinstance(details, bytes):
        return Status()
    return _parsed(Status, details) or Status()


def _detail(status: Status, kind: type[_Detail]) -> _Detail | None:
    url = default_message_pool.type_to_url[kind]
    return next((_parsed(kind, detail.value) for detail in status.details if detail.type_url == url), None)


def _parsed(kind: type[_Detail], content: bytes) -> _Detail | None:
    try:
        return kind.parse(content)
    except Exception:  # noqa: BLE001 (a proxy may have set these bytes; the status code still counts)
        return None
