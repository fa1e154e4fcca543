"""Translates D1's error responses, and missing ones, to `GatewayError`."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Final

from adapters.d1.api.endpoints import FIELDS
from adapters.d1.assumptions import Assumption
from adapters.http.errors import RETRY_SECONDS, RETRYABLE, Meaning, Upstream, sanitised
from adapters.http.response import UpstreamResponse
from gateway.errors import FieldViolation, GatewayError, Reason
from issuer.common.v1 import error_pb2

__all__ = [
    "D1",
    "contract_broken",
    "deadline_exceeded",
    "expect_success",
    "no_token",
    "rejection",
    "sanitised",
    "token_refusal",
]

D1: Final = Upstream("d1", "D1")

contract_broken = D1.contract_broken
deadline_exceeded = D1.deadline_exceeded

# Codes are passed on unchanged, so none may be a card number in disguise.
_CODE = re.compile(r"(?!.*[0-9]{8})[A-Z0-9_]{1,64}")
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\[\]]{0,63}")

_NOT_REUSABLE: Annotated[
    HTTPStatus,
    Assumption(
        what="the status for a card id or a PAN that may not be used again",
        basis="what the status means in HTTP; D1 shows the rule without a status",
        if_wrong="The caller gets UPSTREAM_INVALID or UPSTREAM_FORBIDDEN in place of UPSTREAM_CONFLICT.",
    ),
] = HTTPStatus.CONFLICT
_MEANINGS: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        HTTPStatus.FORBIDDEN: Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_FORBIDDEN,
            error_pb2.ERROR_OUTCOME_REJECTED,
            "{upstream} does not allow this in the current state, or not with this reason code",
        ),
        HTTPStatus.NOT_FOUND: Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND,
            error_pb2.ERROR_OUTCOME_REJECTED,
            "{upstream} does not know the issuer or the subject of the call",
        ),
        _NOT_REUSABLE: Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_CONFLICT,
            error_pb2.ERROR_OUTCOME_REJECTED,
            "The card id or the PAN is in use at {upstream}, or may not be reused",
        ),
    }
)
_TOKEN_ERRORS: Final = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)
_TOKEN_LOST: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE: "The connection to D1 broke before the full response.",
        error_pb2.ERROR_REASON_DEADLINE_EXCEEDED: "D1 did not respond in time.",
    }
)
"""Reasons for which the response with a token is missing; unlike that of a call, its loss has no effect."""


def expect_success(response: UpstreamResponse) -> None:
    """Check that a response confirms its request: a 2xx whose body is missing, or a JSON object but none of an error.

    Raises:
        GatewayError: It is a rejection, or it is not D1's own (UPSTREAM_CONTRACT).
    """
    if not response.succeeded or response.is_foreign:
        raise rejection(response)
    body = response.json_object()
    # An operation of the history may have an `error` among its other properties.
    if body and (body.get("errorCode") or body.keys() == {"error"}):
        raise contract_broken("D1's response has a success's status and an error's body.", status=response.status)


def rejection(response: UpstreamResponse) -> GatewayError:
    """Return the error for a response other than success.

    Statuses and codes that D1 may add are read as D1 asks for: an unknown 4xx as 400, an unknown 5xx as 500 (D1 API:
    change policy). Both forms of error body are understood, and a missing body.
    """
    body = response.json_object() or {}
    code = _text_of(body.get("errorCode"))
    code = code if _CODE.fullmatch(code) else ""
    detail = sanitised(_text_of(body.get("error")))
    return D1.rejection(response, _MEANINGS, code=code, detail=detail, violations=_violations(code, detail))


def token_refusal(response: UpstreamResponse) -> str:
    """Return why D1 refuses an assertion, fit for a log: status, code and description (RFC 6749 section 5.2)."""
    body = response.json_object() or {}
    code = _text_of(body.get("error"))
    words = (code if code in _TOKEN_ERRORS else "", sanitised(_text_of(body.get("error_description"))))
    return ": ".join(filter(None, (f"HTTP {response.status}", *words)))


def no_token(failure: GatewayError) -> GatewayError:
    """Return the error for a call that was not sent because no token could be fetched.

    The token endpoint rejects the gateway's own assertion, whatever the status: its 404 must not reach the caller as an
    unknown card.
    """
    reason = failure.reason
    if failure.outcome == error_pb2.ERROR_OUTCOME_REJECTED and reason not in RETRYABLE:
        reason = error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION
    elif reason in _TOKEN_LOST:
        reason = error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE
    retry_after_seconds = failure.retry_after_seconds
    if retry_after_seconds is None and (reason in RETRYABLE or reason == error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE):
        retry_after_seconds = RETRY_SECONDS
    cause = _TOKEN_LOST.get(failure.reason, failure.message)
    return GatewayError(
        reason,
        f"Nothing was sent, because no access token could be obtained. {cause}",
        outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
        retry_after_seconds=retry_after_seconds,
        detail=failure.detail,
    )


def _text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def _violations(code: str, detail: str) -> tuple[FieldViolation, ...]:
    """Name the field that D1 rejects: for FIELD_INVALID_FORMAT and similar codes the error text is its name."""
    if not code.startswith("FIELD_INVALID_") or not _FIELD_NAME.fullmatch(detail):
        return ()
    names = {theirs: ours for ours, theirs in FIELDS.items()}
    field = ".".join(names.get(part, part) for part in detail.split("."))
    return (FieldViolation(field=field, description="D1 rejects this field.", rule=code),)
