"""The errors of calls: a class for each kind of failure, each with its reason and outcome."""

from dataclasses import dataclass, field

import grpc

from d1_gateway_client.contracts.issuer.common.v1 import ErrorDetail, ErrorOutcome, ErrorReason

__all__ = [
    "AlreadyExistsError",
    "CursorExpiredError",
    "DeadlineExceededError",
    "ErrorDetail",
    "ErrorOutcome",
    "ErrorReason",
    "Facts",
    "FieldViolation",
    "GatewayError",
    "InvalidRequestError",
    "NotAllowedError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitedError",
    "RequestInFlightError",
    "UnauthenticatedError",
    "UnavailableError",
]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A rule of the contract that a field of a request breaks. Never contains the field's value."""

    field: str
    """Path of the field in proto names, for example ``credentials.expiry.month``."""
    description: str
    """The rule, as text for people."""
    rule: str
    """Id of the rule, for example ``string.pattern``."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a failure. A `GatewayError` has the same attributes."""

    code: grpc.StatusCode
    message: str
    detail: ErrorDetail = field(default_factory=ErrorDetail)
    violations: tuple[FieldViolation, ...] = ()
    retry_after_seconds: float | None = None


class GatewayError(Exception):
    """A call failed. Branch on the class, on `reason` and on `outcome`; never on the text."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.code = facts.code
        """The gRPC status."""
        self.message = facts.message
        """Text for people, without secrets or card data."""
        self.detail = facts.detail
        """Further facts, for example ``upstream_code`` and ``erro``; empty if gRPC itself ended the call."""
        self.violations = facts.violations
        """Every field that breaks a rule, for an invalid request."""
        self.retry_after_seconds = facts.retry_after_seconds
        """Seconds after which a retry makes sense; None if unknown."""
        self.request_id: str | None = None
        """The idempotency key of a mutation: a repeated call with it makes the change only once. None for other
        calls."""

    @property
    def reason(self) -> ErrorReason:
        """The reason; UNSPECIFIED if gRPC itself ended the call, without a name if this version does not know it."""
        return self.detail.reason

    @property
    def outcome(self) -> ErrorOutcome:
        """Whether an upstream may have acted; UNKNOWN also if the status does not say."""
        outcome = self.detail.outcome
        return outcome if outcome in {ErrorOutcome.NOT_SENT, ErrorOutcome.REJECTED} else ErrorOutcome.UNKNOWN

    @property
    def correlation_id(self) -> str:
        """The call's id in the gateway's logs and in D1's."""
        return self.detail.correlation_id

    def __str__(self) -> str:
        named = f"outcome {self.outcome.name}"
        if self.reason:
            named = f"{self.reason}, {named}"
        # The message of an invalid request describes a single violation; of several it names the fields alone.
        is_told = len(self.violations) == 1 and self.violations[0].description in self.message
        wrong = "" if is_told else "".join(f"; {each.field}: {each.description}" for each in self.violations)
        text = self.message.removesuffix(".") + wrong if wrong else self.message
        correlation = f" (correlation id {self.correlation_id})" if self.correlation_id else ""
        return f"{self.code.name} [{named}]: {text}{correlation}"


class InvalidRequestError(GatewayError):
    """The request breaks a rule of the contract (`violations` names the fields) or of D1."""


class UnauthenticatedError(GatewayError):
    """The gateway does not accept the client certificate or the token."""


class PermissionDeniedError(GatewayError):
    """The gateway's policy does not grant this rpc, or not for this issuer."""


class NotFoundError(GatewayError):
    """The card, consumer, issuer, operation or subscription does not exist."""


class AlreadyExistsError(GatewayError):
    """The card id or the PAN is in use, or must not be reused."""


class NotAllowedError(GatewayError):
    """The operation is not allowed in the present state."""


class RequestInFlightError(GatewayError):
    """The first call with this `request_id` is still in flight."""


class RateLimitedError(GatewayError):
    """Too many calls; wait for `retry_after_seconds`."""


class DeadlineExceededError(GatewayError):
    """No response in time. Look at `outcome` before you repeat the call."""


class UnavailableError(GatewayError):
    """The gateway or an upstream cannot be reached, or cannot serve now."""


class CursorExpiredError(GatewayError):
    """The cursor is older than the notifications that are kept; those in between are gone."""

    @property
    def earliest_cursor(self) -> str:
        """The oldest valid cursor."""
        return self.detail.earliest_cursor
