"""The failures of D1, some of any upstream, and the error of any rpc that calls it."""

from dataclasses import dataclass, replace

import grpc

from sandbox.common.faults import Drop, Fault
from tests.running import Error

__all__ = ["MAX_SENT", "REJECTIONS", "TOKEN_REJECTIONS", "UPSTREAM_REJECTIONS", "Case"]

_Code = grpc.StatusCode
_ATTEMPTS = 3
"""The maximum attempts of a call that is safe to retry."""
MAX_SENT = 2 * _ATTEMPTS
"""The maximum arrivals of such a call: a PUT or GET on a broken connection is resent at once on a new one."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, and the caller's error."""

    fault: Fault
    code: grpc.StatusCode
    reason: str
    outcome: str = "REJECTED"
    retry_seconds: float | None = None
    passing: bool = False
    """Whether an idempotent call is retried after it."""

    @property
    def error(self) -> Error:
        return Error(self.code, self.reason, self.outcome, self.retry_seconds)

    def at(self, operation: str, *, idempotent: bool) -> Fault:
        """Return the fault, repeated as often as needed for the caller to see the error."""
        times = _ATTEMPTS if self.passing and idempotent else self.fault.times
        return replace(self.fault, operation=operation, times=times)


_LATER = {"Retry-After": "60"}
"""Beyond the deadline of any call, so that none is retried."""
UPSTREAM_REJECTIONS = {
    "400": Case(Fault(status=400), _Code.INVALID_ARGUMENT, "UPSTREAM_INVALID"),
    "an unlisted 4xx": Case(Fault(status=418), _Code.INVALID_ARGUMENT, "UPSTREAM_INVALID"),
    "429": Case(Fault(status=429), _Code.RESOURCE_EXHAUSTED, "UPSTREAM_RATE_LIMITED", retry_seconds=1.0, passing=True),
    "429 with a delay": Case(
        Fault(status=429, headers=_LATER), _Code.RESOURCE_EXHAUSTED, "UPSTREAM_RATE_LIMITED", retry_seconds=60.0
    ),
    "503": Case(Fault(status=503), _Code.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", retry_seconds=1.0, passing=True),
    "503 with a delay": Case(
        Fault(status=503, headers=_LATER), _Code.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", retry_seconds=60.0
    ),
    "502, a proxy's page": Case(Fault(html=True), _Code.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", "UNKNOWN", passing=True),
    "504": Case(Fault(status=504, headers=_LATER), _Code.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", "UNKNOWN"),
    "500": Case(Fault(status=500), _Code.INTERNAL, "UPSTREAM_FAILED", "UNKNOWN"),
    "an unlisted 5xx": Case(Fault(status=507), _Code.INTERNAL, "UPSTREAM_FAILED", "UNKNOWN"),
    **{
        f"{status}, a firewall's page": Case(
            Fault(status=status, html=True), _Code.INTERNAL, "UPSTREAM_CONTRACT", "UNKNOWN", passing=True
        )
        for status in (200, 403, 404)
    },
    "503, a page": Case(
        Fault(status=503, html=True), _Code.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", "UNKNOWN", passing=True
    ),
    "a redirection": Case(
        Fault(status=307, headers={"Location": "/elsewhere"}), _Code.INTERNAL, "UPSTREAM_CONTRACT", "UNKNOWN"
    ),
}
"""Faults of either upstream in which it does not act, by name."""

REJECTIONS = {
    **UPSTREAM_REJECTIONS,
    "400 without a body": Case(Fault(status=400, body=""), _Code.INVALID_ARGUMENT, "UPSTREAM_INVALID"),
    "401 twice": Case(Fault(status=401, times=2), _Code.INTERNAL, "UPSTREAM_AUTHENTICATION"),
    "403": Case(Fault(status=403), _Code.FAILED_PRECONDITION, "UPSTREAM_FORBIDDEN"),
    "404": Case(Fault(status=404), _Code.NOT_FOUND, "UPSTREAM_NOT_FOUND"),
    "409": Case(Fault(status=409), _Code.ALREADY_EXISTS, "UPSTREAM_CONFLICT"),
}
"""Faults in which D1 does not act, by name."""

TOKEN_REJECTIONS = {
    **{str(code): Case(Fault(status=code), _Code.INTERNAL, "UPSTREAM_AUTHENTICATION") for code in (400, 401, 404)},
    "429": Case(
        Fault(status=429, headers=_LATER), _Code.RESOURCE_EXHAUSTED, "UPSTREAM_RATE_LIMITED", retry_seconds=60.0
    ),
    "503": Case(Fault(status=503), _Code.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", retry_seconds=1.0, passing=True),
    "502": Case(Fault(html=True), _Code.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", retry_seconds=1.0, passing=True),
    "500": Case(Fault(status=500), _Code.INTERNAL, "UPSTREAM_FAILED"),
    "dropped": Case(
        Fault(drop=Drop.BEFORE), _Code.UNAVAILABLE, "UPSTREAM_UNREACHABLE", retry_seconds=1.0, passing=True
    ),
    "truncated": Case(Fault(truncate=True), _Code.UNAVAILABLE, "UPSTREAM_UNREACHABLE", retry_seconds=1.0, passing=True),
    **{
        f"{status}, a firewall's page": Case(
            Fault(status=status, html=True), _Code.INTERNAL, "UPSTREAM_CONTRACT", passing=True
        )
        for status in (200, 403)
    },
    "no JSON": Case(Fault(status=200, body="token"), _Code.INTERNAL, "UPSTREAM_CONTRACT", passing=True),
    "no token": Case(Fault(status=200, body='{"expires_in":900}'), _Code.INTERNAL, "UPSTREAM_CONTRACT"),
}
"""Faults of the token endpoint, by name; nothing is sent then."""
