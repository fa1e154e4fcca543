"""From what D1 answers, or fails to answer, to a `GatewayError`.

Every error says whether D1 may have acted (its outcome). Where that is not certain it is UNKNOWN: taking an executed
change for one that was not sent would make a caller repeat it.
"""

import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import aiohttp

from adapters.d1.answers import Answer
from adapters.d1.paths import FIELDS
from gateway.errors import FieldViolation, GatewayError, Outcome, Reason
from issuer.common.v1 import error_pb2

__all__ = [
    "contract_broken",
    "deadline_exceeded",
    "no_answer",
    "no_token",
    "refusal",
    "sanitised",
    "unreachable",
]

_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 86_400.0
_LONGEST_TEXT: Final = 200

# Codes go out unchanged, so none may be a card number in disguise.
_CODE = re.compile(r"(?!.*[0-9]{8})[A-Z0-9_]{1,64}")
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\[\]]{0,63}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
# What could be a token or encrypted data: the start of a JOSE header, or a run longer than any id of D1.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_.=-]*|[A-Za-z0-9_.+/=~-]{65,}")
# What could be a card, account or phone number, in groups or not.
_NUMBER = re.compile(r"[0-9](?:[ ._-]?[0-9]){3,}")


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a status means."""

    reason: Reason
    outcome: Outcome
    text: str


_INVALID = _Meaning(error_pb2.ERROR_REASON_UPSTREAM_INVALID, error_pb2.OUTCOME_REJECTED, "D1 refuses the request")
_FAILED = _Meaning(error_pb2.ERROR_REASON_UPSTREAM_FAILED, error_pb2.OUTCOME_UNKNOWN, "D1 failed")
_UNEXPECTED = _Meaning(
    error_pb2.ERROR_REASON_UPSTREAM_CONTRACT, error_pb2.OUTCOME_UNKNOWN, "D1 answered with an unexpected status"
)
# A proxy says 502 or 504 when it may have passed the request on.
_BEHIND_PROXY = _Meaning(
    error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, error_pb2.OUTCOME_UNKNOWN, "D1 did not answer its own proxy"
)
_MEANINGS: Final[Mapping[int, _Meaning]] = MappingProxyType(
    {
        HTTPStatus.UNAUTHORIZED: _Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION,
            error_pb2.OUTCOME_REJECTED,
            "D1 refuses the gateway's credentials",
        ),
        HTTPStatus.FORBIDDEN: _Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_FORBIDDEN,
            error_pb2.OUTCOME_REJECTED,
            "D1 does not allow this in the present state, or not with this reason code",
        ),
        HTTPStatus.NOT_FOUND: _Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND,
            error_pb2.OUTCOME_REJECTED,
            "D1 does not know the card, consumer or issuer",
        ),
        HTTPStatus.CONFLICT: _Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_CONFLICT,
            error_pb2.OUTCOME_REJECTED,
            "The card id or the PAN is in use at D1, or may not be used again",
        ),
        HTTPStatus.TOO_MANY_REQUESTS: _Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED, error_pb2.OUTCOME_REJECTED, "D1 limits the rate of calls"
        ),
        HTTPStatus.SERVICE_UNAVAILABLE: _Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, error_pb2.OUTCOME_REJECTED, "D1 cannot serve now"
        ),
        HTTPStatus.BAD_GATEWAY: _BEHIND_PROXY,
        HTTPStatus.GATEWAY_TIMEOUT: _BEHIND_PROXY,
    }
)
_RETRYABLE: Final = frozenset(
    {error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED, error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE}
)
_TOKEN_LOST: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        error_pb2.ERROR_REASON_UPSTREAM_NO_ANSWER: "The connection to D1 broke before its answer was complete.",
        error_pb2.ERROR_REASON_DEADLINE_EXCEEDED: "D1 did not answer in time.",
    }
)
"""How a token is lost on its way, without the effect that a call would have had."""


def refusal(answer: Answer) -> GatewayError:
    """Tell what an answer without success means.

    Statuses and codes that D1 adds later are read as D1 asks for: an unknown 4xx as 400, an unknown 5xx as 500 (D1 API:
    change policy). Both forms of error body are understood, and their absence.
    """
    meaning = _meaning(answer.status)
    body = answer.json_object() or {}
    code = _text_of(body.get("errorCode"))
    code = code if _CODE.fullmatch(code) else ""
    detail = sanitised(_text_of(body.get("error")))
    status = f"HTTP {answer.status}, {code}" if code else f"HTTP {answer.status}"
    # Where the outcome is unknown, a delay would read as leave to repeat the call.
    retryable = meaning.reason in _RETRYABLE and meaning.outcome == error_pb2.OUTCOME_REJECTED
    return _error(
        meaning.reason,
        f"{meaning.text} ({status}): {detail}" if detail else f"{meaning.text} ({status}).",
        meaning.outcome,
        retry_after_seconds=_retry_after_seconds(answer.retry_after) if retryable else None,
        violations=_violations(code, detail),
        upstream_status=str(answer.status),
        upstream_code=code,
    )


def contract_broken(message: str, *, status: int | None) -> GatewayError:
    """Tell of an answer that cannot be read, or that lacks what it has to hold. The request was sent."""
    return _error(
        error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
        message,
        error_pb2.OUTCOME_UNKNOWN,
        upstream_status="" if status is None else str(status),
    )


def unreachable(failure: Exception) -> GatewayError:
    """Tell that no connection could be made, and what kind of failure it was. Nothing was sent."""
    return _error(
        error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE,
        f"No connection to D1 could be made: {_connection_fault(failure)}.",
        error_pb2.OUTCOME_NOT_SENT,
        retry_after_seconds=_RETRY_SECONDS,
    )


def no_answer() -> GatewayError:
    """Tell that the connection broke after the request was sent and before its answer was complete."""
    return _error(
        error_pb2.ERROR_REASON_UPSTREAM_NO_ANSWER,
        "The connection to D1 broke before its answer was complete. The request may have taken effect.",
        error_pb2.OUTCOME_UNKNOWN,
    )


def deadline_exceeded(*, sent: bool) -> GatewayError:
    """Tell that time ran out, and whether the request had been sent by then."""
    effect = "The request was sent and may have taken effect." if sent else "Nothing was sent."
    return _error(
        error_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
        f"The time for the call to D1 is over. {effect}",
        error_pb2.OUTCOME_UNKNOWN if sent else error_pb2.OUTCOME_NOT_SENT,
    )


def no_token(failure: GatewayError) -> GatewayError:
    """Tell a call that it cannot be made because no token could be fetched. It has not been sent itself.

    What the token endpoint refuses is the gateway's own assertion, whatever the status: a 404 there must not reach the
    caller as an unknown card.
    """
    reason = failure.reason
    if failure.outcome == error_pb2.OUTCOME_REJECTED and reason not in _RETRYABLE:
        reason = error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION
    elif reason in _TOKEN_LOST:
        reason = error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE
    retry_after_seconds = failure.retry_after_seconds
    if retry_after_seconds is None and (reason in _RETRYABLE or reason == error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE):
        retry_after_seconds = _RETRY_SECONDS
    cause = _TOKEN_LOST.get(failure.reason, failure.message)
    return GatewayError(
        reason,
        f"Nothing was sent, for want of an access token. {cause}",
        outcome=error_pb2.OUTCOME_NOT_SENT,
        retry_after_seconds=retry_after_seconds,
        metadata=failure.metadata,
    )


def sanitised(text: str) -> str:
    """Make D1's words fit for a message: printable ASCII, nothing that could be a number or a token, 200 characters."""
    text = _UNPRINTABLE.sub(" ", text[: 20 * _LONGEST_TEXT])
    text = _NUMBER.sub("****", _TOKEN.sub("****", text))
    return text[:_LONGEST_TEXT].strip()


def _error(
    reason: Reason,
    message: str,
    outcome: Outcome,
    *,
    retry_after_seconds: float | None = None,
    violations: Sequence[FieldViolation] = (),
    **metadata: str,
) -> GatewayError:
    return GatewayError(
        reason,
        message,
        outcome=outcome,
        retry_after_seconds=retry_after_seconds,
        violations=violations,
        metadata={"upstream": "d1"} | {name: value for name, value in metadata.items() if value},
    )


def _meaning(status: int) -> _Meaning:
    if status in _MEANINGS:
        return _MEANINGS[status]
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _INVALID
    return _FAILED if HTTPStatus.INTERNAL_SERVER_ERROR <= status < 600 else _UNEXPECTED  # noqa: PLR2004 - end of 5xx


def _text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def _violations(code: str, detail: str) -> tuple[FieldViolation, ...]:
    """Name the field that D1 finds wrong: with FIELD_INVALID_FORMAT and its kin the error text is its name."""
    if not code.startswith("FIELD_INVALID_") or not _FIELD_NAME.fullmatch(detail):
        return ()
    names = {theirs: ours for ours, theirs in FIELDS.items()}
    return (FieldViolation(field=names.get(detail, detail), description="D1 refuses this field.", rule=code),)


def _retry_after_seconds(header: str) -> float:
    """Read a Retry-After header: seconds or a date (RFC 9110 section 10.2.3)."""
    header = header.strip()
    if header.isascii() and header.isdigit():
        return min(float(header), _LONGEST_RETRY_SECONDS)
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return _RETRY_SECONDS
    # A date whose zone is "-0000" is UTC and comes without a zone.
    seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time()
    return min(max(seconds, 0.0), _LONGEST_RETRY_SECONDS)


def _connection_fault(failure: Exception) -> str:
    """Say what kind of failure it was, in words that hold no upstream text but OpenSSL's own."""
    match failure:
        case aiohttp.ConnectionTimeoutError():
            return "none was free or made in time"
        case aiohttp.ClientConnectorDNSError():
            return "its name does not resolve"
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as fault):
            return f"its certificate is not trusted ({sanitised(fault.verify_message)})"
        case aiohttp.ClientConnectorCertificateError():
            return "its certificate is not trusted"
        case aiohttp.ClientConnectorSSLError(os_error=ssl.SSLError() as fault):
            return f"the TLS handshake failed ({sanitised(fault.reason or 'no reason given')})"
        case _:
            return "it was refused or broke"
