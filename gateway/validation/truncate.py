"""Makes the violations of a request fit into the metadata that a gRPC client takes."""

from collections.abc import Sequence
from dataclasses import replace

from gateway.errors import FieldViolation, GatewayError
from issuer.common.v1 import error_pb2

__all__ = ["MOST_NAMED", "invalid_request"]

MOST_NAMED = 200
"""More violations than this never fit, so that nobody has to look at them."""

_MOST_BYTES = 5_000
"""A client takes 8 KiB of trailing metadata unless told otherwise. A status stands there in base64, which adds a third,
and its message once more beside the correlation id."""

_DESCRIPTION_LENGTHS = (120, 60, 30, 0)
_MOST_SUMMARISED = 5


def invalid_request(violations: Sequence[FieldViolation], unnamed_count: int = 0) -> GatewayError:
    """Refuse a request, and tell all that it breaks.

    Where that is too much, descriptions are cut short first, as the rule's id stands beside them; only then are the
    last violations left out, and their number told.

    Args:
        violations: What it breaks.
        unnamed_count: How many violations there are beyond these.
    """
    named = violations[:MOST_NAMED]
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
    fields = sorted({violation.field or "the request as a whole" for violation in named})
    beyond = len(fields) - _MOST_SUMMARISED
    summary = ", ".join(fields[:_MOST_SUMMARISED]) + (f" and {beyond} more" if beyond > 0 else "")
    if count > len(named):
        summary += f"; {count - len(named)} further violations are left out for want of room"
    return GatewayError(
        error_pb2.ERROR_REASON_INVALID_REQUEST,
        f"Invalid request: {summary}",
        outcome=error_pb2.OUTCOME_NOT_SENT,
        violations=named,
    )


def _fits(error: GatewayError) -> bool:
    longest_correlation_id = "x" * 64
    return len(error.to_status(longest_correlation_id).SerializeToString()) <= _MOST_BYTES


def _shortened(violation: FieldViolation, length: int) -> FieldViolation:
    if len(violation.description) <= length:
        return violation
    return replace(violation, description=violation.description[:length].rstrip() + "..." if length else "")
