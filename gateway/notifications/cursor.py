"""Cursors: positions in an event log, as callers see them.

A cursor contains the id of its log, so that a cursor of another log (restored, recreated, migrated) is rejected instead
of meaning a wrong position.
"""

import re

from gateway.errors import GatewayError
from gateway.ports import LogBounds
from issuer.common.v1 import error_pb2

__all__ = ["check_kept", "encode", "left_out", "parse", "prefix"]

_FORM = re.compile(r"([0-9a-f]{8})-(0|[1-9][0-9]{0,18})")


def encode(log_id: str, sequence: int) -> str:
    """Return the cursor of a sequence."""
    return f"{prefix(log_id)}{sequence}"


def prefix(log_id: str) -> str:
    """Return what all cursors of a log have before their sequence."""
    return f"{log_id}-"


def parse(cursor: str, log_id: str, bounds: LogBounds) -> int:
    """Return the sequence of a cursor of this log.

    Raises:
        GatewayError: CURSOR_UNKNOWN if the cursor is not from this log.
    """
    match = _FORM.fullmatch(cursor)
    if match is None:
        raise _unknown("This is not a cursor: send one back as it was received.")
    if match[1] != log_id or int(match[2]) > bounds.last:
        raise _unknown(
            f"The cursor {cursor} is not from this event log, which may be new, or restored: watch from a time or from "
            "EARLIEST instead."
        )
    return int(match[2])


def _unknown(message: str) -> GatewayError:
    return GatewayError(error_pb2.ERROR_REASON_CURSOR_UNKNOWN, message)


def left_out(sequence: int, log_id: str) -> GatewayError:
    """Return the error for a reader before a damaged event that operators have skipped: CURSOR_EXPIRED."""
    return GatewayError(
        error_pb2.ERROR_REASON_CURSOR_EXPIRED,
        "The notification after this cursor was damaged and is left out. Continue after earliest_cursor (for a "
        "subscription: commit it), and fetch what you missed from D1's operation history.",
        detail=error_pb2.ErrorDetail(earliest_cursor=encode(log_id, sequence)),
    )


def check_kept(sequence: int, log_id: str, bounds: LogBounds) -> None:
    """Check that nothing after a sequence was trimmed.

    Raises:
        GatewayError: CURSOR_EXPIRED, with the earliest usable cursor.
    """
    if sequence < bounds.trimmed_through:
        raise GatewayError(
            error_pb2.ERROR_REASON_CURSOR_EXPIRED,
            "Notifications after this cursor were trimmed. Continue after earliest_cursor (for a "
            "subscription: commit it), and fetch what you missed from D1's operation history.",
            detail=error_pb2.ErrorDetail(earliest_cursor=encode(log_id, bounds.trimmed_through)),
        )
