"""Truncates the violations of a request to fit into the metadata that a gRPC client accepts."""

from collections.abc import Sequence
from dataclasses import replace

from gateway.errors import FieldViolation, GatewayError
from issuer.common.v1 import error_pb2

__all__ = ["MAX_VIOLATIONS", "invalid_request"]

MAX_VIOLATIONS = 200
"""More violations than this never fit, so they are not translated."""

_MAX_BYTES = 5_000
"""By default a client accepts 8 KiB of trailing metadata. The status is sent there in base64, which adds a third, and
its message a second time, beside the correlation id."""

_DESCRIPTION_LENGTHS = (120, 60, 30, 0)
_MAX_SUMMARISED = 5


def invalid_request(violations: Sequence[FieldViolation], unnamed_count: int = 0) -> GatewayError:
    """Return the error for an invalid request.

    If it is too large, descriptions are shortened first, because the rule's id is still there. Only then the last
    violations are left out, and their number is given.

    Args:
        violations: The violations.
        unnamed_count: The number of further violations.
    """
    named = violations[:MAX_VIOLATIONS]
    count = len(violations) + unnamed_count
    error = _error(named, count)
    for length in _DESCRIPTION_LENGTHS:
        if _fits(error):
            return error
        named = [_shortened(violation, length) for violation in named]
        error = _error(named, count)
    while not _fits(error):
        named = named[: len(named) * 9 // 10]
        error = _error(named, count)
    return error


def _error(named: Sequence[FieldViolation], count: int) -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_INVALID_REQUEST,
        f"Invalid request: {_summary(named, count)}",
        outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
        violations=named,
    )


def _summary(named: Sequence[FieldViolation], count: int) -> str:
    if count == 1 and named:
        return f"{named[0].field} {named[0].description}".strip()
    fields = list(dict.fromkeys(violation.field or "the request as a whole" for violation in named))
    beyond = len(fields) - _MAX_SUMMARISED
    summary = ", ".join(fields[:_MAX_SUMMARISED]) + (f" and {beyond} more" if beyond > 0 else "")
    return summary + (f"; {count - len(named)} more violations omitted" if count > len(named) else "")


def _fits(error: GatewayError) -> bool:
    longest_correlation_id = "x" * 64
    return len(error.to_status(longest_correlation_id).SerializeToString()) <= _MAX_BYTES


def _shortened(violation: FieldViolation, length: int) -> FieldViolation:
    if len(violation.description) <= length:
        return violation
    return replace(violation, description=violation.description[:length].rstrip() + "..." if length else "")
