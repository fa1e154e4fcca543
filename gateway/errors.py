"""The errors of the gateway: one class, one table from reason to status, one form on the wire.

Every expected failure raises `GatewayError`. Over gRPC it becomes a ``google.rpc.Status`` with an ``ErrorDetail`` for
the contract's users and an ``ErrorInfo`` for generic tools (see ``issuer/common/v1/error.proto``), at the edge an HTTP
status with ``{"error": ...}``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from issuer.common.v1 import error_pb2

__all__ = ["DOMAIN", "ErrorOutcome", "FieldViolation", "GatewayError", "Reason", "shown"]

DOMAIN = "d1-gateway"
"""The ``ErrorInfo.domain`` of every error."""

Reason: TypeAlias = "error_pb2.ErrorReason.ValueType"
"""A value of ``issuer.common.v1.ErrorReason``."""

ErrorOutcome: TypeAlias = "error_pb2.ErrorOutcome.ValueType"
"""A value of ``issuer.common.v1.ErrorOutcome``."""

_STATUS: Mapping[Reason, grpc.StatusCode] = {
    error_pb2.ERROR_REASON_INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    error_pb2.ERROR_REASON_ISSUER_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    error_pb2.ERROR_REASON_ISSUER_REQUIRED: grpc.StatusCode.INVALID_ARGUMENT,
    error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE: grpc.StatusCode.UNAVAILABLE,
    error_pb2.ERROR_REASON_DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE: grpc.StatusCode.UNKNOWN,
    error_pb2.ERROR_REASON_UPSTREAM_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION: grpc.StatusCode.INTERNAL,
    error_pb2.ERROR_REASON_UPSTREAM_FORBIDDEN: grpc.StatusCode.FAILED_PRECONDITION,
    error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    error_pb2.ERROR_REASON_UPSTREAM_CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    error_pb2.ERROR_REASON_UPSTREAM_FAILED: grpc.StatusCode.INTERNAL,
    error_pb2.ERROR_REASON_UPSTREAM_CONTRACT: grpc.StatusCode.INTERNAL,
    error_pb2.ERROR_REASON_CURSOR_EXPIRED: grpc.StatusCode.OUT_OF_RANGE,
    error_pb2.ERROR_REASON_CURSOR_UNKNOWN: grpc.StatusCode.INVALID_ARGUMENT,
    error_pb2.ERROR_REASON_SUBSCRIPTION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    error_pb2.ERROR_REASON_SUBSCRIPTION_IN_USE: grpc.StatusCode.FAILED_PRECONDITION,
    error_pb2.ERROR_REASON_SERVER_DRAINING: grpc.StatusCode.UNAVAILABLE,
    error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    error_pb2.ERROR_REASON_INTERNAL: grpc.StatusCode.INTERNAL,
    error_pb2.ERROR_REASON_AUTHENTICATION_DECIDED: grpc.StatusCode.FAILED_PRECONDITION,
    error_pb2.ERROR_REASON_STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    error_pb2.ERROR_REASON_PAGE_TOKEN_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    error_pb2.ERROR_REASON_UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    error_pb2.ERROR_REASON_PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    error_pb2.ERROR_REASON_REQUEST_ID_REUSED: grpc.StatusCode.INVALID_ARGUMENT,
    error_pb2.ERROR_REASON_REQUEST_IN_FLIGHT: grpc.StatusCode.ABORTED,
    error_pb2.ERROR_REASON_TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    error_pb2.ERROR_REASON_UPSTREAM_CIRCUIT_OPEN: grpc.StatusCode.UNAVAILABLE,
    error_pb2.ERROR_REASON_RPC_UNKNOWN: grpc.StatusCode.UNIMPLEMENTED,
    error_pb2.ERROR_REASON_SUBSCRIPTION_STARTED: grpc.StatusCode.FAILED_PRECONDITION,
    error_pb2.ERROR_REASON_FENCING_TOKEN_STALE: grpc.StatusCode.FAILED_PRECONDITION,
    error_pb2.ERROR_REASON_EVENT_DAMAGED: grpc.StatusCode.DATA_LOSS,
    error_pb2.ERROR_REASON_AUDIT_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    error_pb2.ERROR_REASON_THREE_DS_REJECTED: grpc.StatusCode.INVALID_ARGUMENT,
    error_pb2.ERROR_REASON_THREE_DS_TIMED_OUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    error_pb2.ERROR_REASON_THREE_DS_TRANSIENT_FAILURE: grpc.StatusCode.UNAVAILABLE,
    error_pb2.ERROR_REASON_THREE_DS_PERMANENT_FAILURE: grpc.StatusCode.INTERNAL,
    error_pb2.ERROR_REASON_THREE_DS_TRANSACTION_UNKNOWN: grpc.StatusCode.NOT_FOUND,
}

_NAMED: Final = frozenset({"reason", "outcome", "correlation_id"})
"""Fields of the detail that the status names by itself."""


# Ten digits are the shortest card number of the contracts, grouped or not.
_NUMBER: Final = re.compile(r"[0-9](?:[ ._-]?[0-9]){9,}")
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_MAX_SHOWN_LENGTH: Final = 120


def shown(text: str) -> str:
    """Return a caller's text as messages and logs may repeat it: short, in ASCII, without what may be a card number."""
    safe = _UNPRINTABLE.sub("?", _NUMBER.sub("****", text))
    return safe if len(safe) <= _MAX_SHOWN_LENGTH else f"{safe[:_MAX_SHOWN_LENGTH]}..."


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A contract rule that one field of a request breaks. Never holds the field's value."""

    field: str
    """The path of the field in proto names, for example ``credentials.expiry.month``."""
    description: str
    """The rule in words."""
    rule: str
    """The id of the rule, for example ``string.pattern``."""


class GatewayError(Exception):
    """A failure that is reported to the caller.

    The message is for people: it holds no secret, no card data and no unsanitised upstream text.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        outcome: ErrorOutcome = error_pb2.ERROR_OUTCOME_REJECTED,
        retry_after_seconds: float | None = None,
        violations: Sequence[FieldViolation] = (),
        detail: error_pb2.ErrorDetail | None = None,
    ) -> None:
        """Describe the failure.

        Args:
            reason: The reason, which decides the gRPC status.
            message: The failure in words, and what the caller can do about it.
            outcome: Whether the upstream may have acted.
            retry_after_seconds: When a retry makes sense; None if it never does.
            violations: The fields that break the contract.
            detail: Further facts for programs. Its reason and outcome are replaced.
        """
        super().__init__(message)
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.violations = tuple(violations)
        self.detail = error_pb2.ErrorDetail()
        if detail is not None:
            self.detail.CopyFrom(detail)
        self.detail.reason = reason
        self.detail.outcome = outcome

    @property
    def reason(self) -> Reason:
        """Why the call failed."""
        return self.detail.reason

    @property
    def outcome(self) -> ErrorOutcome:
        """Whether the upstream may have acted."""
        return self.detail.outcome

    @property
    def metadata(self) -> dict[str, str]:
        """The further facts of the detail, as ``ErrorInfo.metadata`` has them."""
        return dict(_texts(self.detail))

    @property
    def reason_name(self) -> str:
        """The value of ``ErrorInfo.reason``."""
        return error_pb2.ErrorReason.Name(self.reason).removeprefix("ERROR_REASON_")

    @property
    def outcome_name(self) -> str:
        """The value of ``outcome`` in ``ErrorInfo.metadata``."""
        return error_pb2.ErrorOutcome.Name(self.outcome).removeprefix("ERROR_OUTCOME_")

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC status."""
        return _STATUS[self.reason]

    def to_status(self, correlation_id: str) -> status_pb2.Status:
        """Return the status to send to the caller."""
        metadata = {**self.metadata, "outcome": self.outcome_name, "correlation_id": correlation_id}
        detail = error_pb2.ErrorDetail()
        detail.CopyFrom(self.detail)
        detail.correlation_id = correlation_id
        number: int = self.code.value[0]
        status = status_pb2.Status(code=number, message=self.message)
        status.details.add().Pack(
            error_details_pb2.ErrorInfo(reason=self.reason_name, domain=DOMAIN, metadata=metadata)
        )
        status.details.add().Pack(detail)
        if self.violations:
            bad_request = error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=violation.field, description=violation.description, reason=violation.rule
                    )
                    for violation in self.violations
                ]
            )
            status.details.add().Pack(bad_request)
        if self.retry_after_seconds is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromTimedelta(timedelta(seconds=self.retry_after_seconds))
            status.details.add().Pack(retry)
        return status


def _texts(message: Message) -> Iterator[tuple[str, str]]:
    for field, value in message.ListFields():
        if isinstance(value, Message):
            yield from _texts(value)
        elif field.name not in _NAMED:
            # A number, or a truth value, which protobuf's JSON writes in lower case as well.
            yield field.name, value if isinstance(value, str) else str(value).lower()
