"""What calls raise: one class for each kind of failure, and always why it failed and what may have happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc

from d1_gateway_client.contracts.issuer.common.v1 import ErrorReason, Outcome

__all__ = [
    "AlreadyExistsError",
    "CursorExpiredError",
    "DeadlineExceededError",
    "ErrorReason",
    "Facts",
    "FieldViolation",
    "GatewayError",
    "InvalidRequestError",
    "NotAllowedError",
    "NotFoundError",
    "Outcome",
    "PermissionDeniedError",
    "RateLimitedError",
    "RequestInFlightError",
    "UnauthenticatedError",
    "UnavailableError",
]


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A rule of the contract that one field of a request breaks. Never holds the field's value."""

    field: str
    """The path of the field in proto names, for example ``credentials.expiry.month``."""
    description: str
    """The rule, as text for people."""
    rule: str
    """The id of the rule, for example ``string.pattern``."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a failure. An error has all of it as attributes of its own."""

    code: grpc.StatusCode
    message: str
    reason_name: str = ""
    outcome: Outcome = Outcome.UNKNOWN
    violations: tuple[FieldViolation, ...] = ()
    retry_after_seconds: float | None = None
    correlation_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class GatewayError(Exception):
    """A call failed. Branch on the class, on `reason` and on `outcome`; never on the text."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self.code = facts.code
        """The gRPC status."""
        self.message = facts.message
        """What the gateway says to people: no secret, no card data."""
        self.reason_name = facts.reason_name
        """The reason as it came, for example ``UPSTREAM_CONFLICT``; empty if gRPC itself ended the call."""
        self.outcome = facts.outcome
        """Whether the call may have changed anything: UNKNOWN also where nobody said."""
        self.violations = facts.violations
        """With an invalid request: every field that breaks a rule."""
        self.retry_after_seconds = facts.retry_after_seconds
        """After how long a retry makes sense; None if nobody said."""
        self.correlation_id = facts.correlation_id
        """Names the call in the gateway's logs and in D1's."""
        self.metadata = facts.metadata
        """Further facts, for example ``upstream`` and ``upstream_code``: see ``issuer/common/v1/error.proto``."""
        self.request_id: str | None = None
        """Under which the change was asked for: ask again under it, and it is not made twice. None for what changes
        nothing."""

    @property
    def reason(self) -> ErrorReason:
        """The reason; UNSPECIFIED if gRPC itself ended the call, or if this version does not know the reason."""
        return ErrorReason.__members__.get(self.reason_name, ErrorReason.UNSPECIFIED)

    def __str__(self) -> str:
        named = ", ".join(part for part in (self.reason_name, f"outcome {self.outcome.name}") if part)
        wrong = "".join(f"; {violation.field}: {violation.description}" for violation in self.violations)
        correlation = f" (correlation id {self.correlation_id})" if self.correlation_id else ""
        return f"{self.code.name} [{named}]: {self.message}{wrong}{correlation}"


class InvalidRequestError(GatewayError):
    """The request breaks a rule, of the gateway's contract (`violations` names the fields) or of D1's."""


class UnauthenticatedError(GatewayError):
    """The gateway does not accept the client certificate or the token."""


class PermissionDeniedError(GatewayError):
    """The gateway's policy does not grant this rpc, or not for this issuer."""


class NotFoundError(GatewayError):
    """The card, consumer, issuer, operation or subscription is not known."""


class AlreadyExistsError(GatewayError):
    """The card id or the PAN is in use, or may not be used again."""


class NotAllowedError(GatewayError):
    """Not in the present state."""


class RequestInFlightError(GatewayError):
    """The first call under this `request_id` is still being worked on."""


class RateLimitedError(GatewayError):
    """Too many calls: wait for `retry_after_seconds`."""


class DeadlineExceededError(GatewayError):
    """There was no answer in time. Look at `outcome` before you ask again."""


class UnavailableError(GatewayError):
    """The gateway, or what is behind it, cannot be reached or cannot serve now."""


class CursorExpiredError(GatewayError):
    """The cursor is older than the notifications that are kept; those between are gone."""

    @property
    def earliest_cursor(self) -> str:
        """The oldest cursor that can be used."""
        return self.metadata.get("earliest_cursor", "")
