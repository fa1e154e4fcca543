"""The errors of all upstreams.

Every error says whether the upstream may have acted (its outcome). If that is not certain, the outcome is UNKNOWN: a
caller that took an executed change for one that was not sent would repeat it.
"""

import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from adapters.http.response import UpstreamResponse
from gateway.errors import ErrorOutcome, FieldViolation, GatewayError, Reason
from issuer.common.v1 import error_pb2
from issuer.common.v1.error_pb2 import ErrorDetail

__all__ = ["RETRYABLE", "RETRY_SECONDS", "Meaning", "RejectedError", "Upstream", "refusing_alert", "sanitised"]

RETRY_SECONDS: Final = 1.0
"""Delay before a retry if the upstream names none."""

RETRYABLE: Final = frozenset(
    {error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED, error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE}
)
"""Reasons of a rejection that is worth a retry."""

_MAX_RETRY_SECONDS: Final = 86_400.0
_MAX_TEXT_LENGTH: Final = 200
_MAX_MEDIA_TYPE_LENGTH: Final = 60

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
# Text that may be a token or encrypted data: the start of a JOSE header, or a run longer than any id.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_.=-]*|[A-Za-z0-9_.+/=~-]{65,}")
# Text that may be a card, account or phone number, grouped or not.
_NUMBER = re.compile(r"[0-9](?:[ ._-]?[0-9]){3,}")
# The alerts of RFC 8446 section 6.2 that are about the peer's certificate, as OpenSSL names those it received.
_REFUSING_ALERT = re.compile(
    r"_ALERT_("
    r"CERTIFICATE_REQUIRED|CERTIFICATE_EXPIRED|CERTIFICATE_REVOKED|CERTIFICATE_UNKNOWN|"
    r"BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED"
    r")$"
)
_EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]+")


@dataclass(frozen=True, slots=True)
class Meaning:
    """Meaning of an HTTP status."""

    reason: Reason
    outcome: ErrorOutcome
    text: str
    """Text for people; ``{upstream}`` is replaced by the upstream's name."""


_INVALID = Meaning(
    error_pb2.ERROR_REASON_UPSTREAM_INVALID, error_pb2.ERROR_OUTCOME_REJECTED, "{upstream} rejects the request"
)
_FAILED = Meaning(error_pb2.ERROR_REASON_UPSTREAM_FAILED, error_pb2.ERROR_OUTCOME_UNKNOWN, "{upstream} failed")
_UNEXPECTED = Meaning(
    error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
    error_pb2.ERROR_OUTCOME_UNKNOWN,
    "{upstream} responded with an unexpected status",
)
# A proxy that responds with 502 or 504 may have forwarded the request.
_BEHIND_PROXY = Meaning(
    error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE,
    error_pb2.ERROR_OUTCOME_UNKNOWN,
    "{upstream} did not respond to its proxy",
)
_MEANINGS: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        HTTPStatus.UNAUTHORIZED: Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION,
            error_pb2.ERROR_OUTCOME_REJECTED,
            "{upstream} rejects the gateway's credentials",
        ),
        HTTPStatus.TOO_MANY_REQUESTS: Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED,
            error_pb2.ERROR_OUTCOME_REJECTED,
            "{upstream} limits the rate of calls",
        ),
        HTTPStatus.SERVICE_UNAVAILABLE: Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, error_pb2.ERROR_OUTCOME_REJECTED, "{upstream} is unavailable"
        ),
        HTTPStatus.BAD_GATEWAY: _BEHIND_PROXY,
        HTTPStatus.GATEWAY_TIMEOUT: _BEHIND_PROXY,
    }
)
# A firewall inspects responses too, and may block that of a request that has taken effect.
_FOREIGN = Meaning(
    error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
    error_pb2.ERROR_OUTCOME_UNKNOWN,
    "the response is not {upstream}'s own; a firewall or proxy may have sent it",
)


class RejectedError(GatewayError):
    """A response other than success."""

    requested_pause_seconds: float | None = None
    """Pause that the response asks for (Retry-After), whatever became of the request."""
    is_foreign: bool = False
    """Whether it is not the upstream's own response, and so says nothing about the request."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An external system, as errors name it."""

    name: str
    """Name for programs: ``ErrorDetail.upstream``."""
    title: str
    """Name for people, within a sentence."""

    def error(
        self,
        reason: Reason,
        message: str,
        outcome: ErrorOutcome,
        *,
        retry_after_seconds: float | None = None,
        status: int = 0,
    ) -> GatewayError:
        """Return an error that names this upstream, and the HTTP status of its response if there is one."""
        return GatewayError(
            reason,
            message,
            outcome=outcome,
            retry_after_seconds=retry_after_seconds,
            detail=ErrorDetail(upstream=self.name, upstream_status=status),
        )

    def rejection(
        self,
        response: UpstreamResponse,
        special: Mapping[int, Meaning],
        *,
        code: str = "",
        detail: str = "",
        violations: Sequence[FieldViolation] = (),
    ) -> RejectedError:
        """Return the error for a response other than success, by its status.

        An unlisted status has the meaning of its class: a 4xx that of 400, a 5xx that of 500. A foreign body, such as a
        firewall's page, takes the upstream's meaning from a status, and makes an error of a 2xx.

        Args:
            response: The response.
            special: Statuses with a special meaning at this upstream.
            code: The upstream's own error code, fit for a caller.
            detail: The upstream's own words, sanitised.
            violations: Fields that the upstream rejects.
        """
        if response.is_foreign:
            meaning = _meaning_of_foreign(response.status)
            detail = f"its body ({_media_type(response.content_type)}) is no JSON object."
        else:
            meaning = special.get(response.status) or _meaning(response.status)
        text = _sentence(meaning.text.format(upstream=self.title))
        status = f"HTTP {response.status}, {code}" if code else f"HTTP {response.status}"
        # If the outcome is unknown, a delay would read as permission to repeat the call.
        retryable = meaning.reason in RETRYABLE and meaning.outcome == error_pb2.ERROR_OUTCOME_REJECTED
        pause = _retry_after_seconds(response.retry_after)
        error = RejectedError(
            meaning.reason,
            f"{text} ({status}): {detail}" if detail else f"{text} ({status}).",
            outcome=meaning.outcome,
            retry_after_seconds=(RETRY_SECONDS if pause is None else pause) if retryable else None,
            violations=violations,
            detail=ErrorDetail(upstream=self.name, upstream_status=response.status, upstream_code=code),
        )
        error.requested_pause_seconds = pause
        error.is_foreign = meaning is _FOREIGN
        return error

    def contract_broken(self, message: str, *, status: int = 0) -> GatewayError:
        """Return the error for an unreadable or incomplete response. The request was sent."""
        return self.error(
            error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
            message,
            error_pb2.ERROR_OUTCOME_UNKNOWN,
            status=status,
        )

    def unreachable(self, fault: BaseException | None) -> GatewayError:
        """Return the error for a failed connection, with the kind of failure. Nothing was sent."""
        return self.error(
            error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE,
            f"Cannot connect to {self.title}: {_connection_fault(fault)}.",
            error_pb2.ERROR_OUTCOME_NOT_SENT,
            retry_after_seconds=RETRY_SECONDS,
        )

    def certificate_refused(self, alert: str, certificate: str) -> GatewayError:
        """Return the error for an upstream that refuses the gateway's client certificate. It has processed nothing.

        Args:
            alert: The TLS alert.
            certificate: The certificate's subject and expiry; empty if there is none.
        """
        facts = f"TLS alert: {alert}; certificate: {certificate or 'none'}"
        return self.error(
            error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE,
            f"Cannot connect to {self.title}: it refuses the gateway's client certificate ({facts}).",
            error_pb2.ERROR_OUTCOME_NOT_SENT,
            retry_after_seconds=RETRY_SECONDS,
        )

    def circuit_open(self, seconds: float) -> GatewayError:
        """Return the error for an open circuit, which stays open for `seconds`. Nothing was sent."""
        return self.error(
            error_pb2.ERROR_REASON_UPSTREAM_CIRCUIT_OPEN,
            f"Circuit open for {self.title}; retry later.",
            error_pb2.ERROR_OUTCOME_NOT_SENT,
            retry_after_seconds=seconds,
        )

    def queue_full(self) -> GatewayError:
        """Return the error for a full admission queue. Nothing was sent."""
        return self.error(
            error_pb2.ERROR_REASON_TOO_MANY_REQUESTS,
            f"Too many requests are queued for {self.title}.",
            error_pb2.ERROR_OUTCOME_NOT_SENT,
            retry_after_seconds=RETRY_SECONDS,
        )

    def no_response(self, fault: BaseException | None = None) -> GatewayError:
        """Return the error for a request without a complete response, because of this fault or a closed connection."""
        if isinstance(fault, TimeoutError):
            text = f"{self.title} did not respond in time."
        else:
            text = f"The connection to {self.title} broke before the full response."
        return self.error(
            error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE,
            f"{text} The request may have taken effect.",
            error_pb2.ERROR_OUTCOME_UNKNOWN,
        )

    def deadline_exceeded(self, *, sent: bool) -> GatewayError:
        """Return the error for a missed deadline; `sent` says whether the request had been sent."""
        effect = "The request was sent and may have taken effect." if sent else "Nothing was sent."
        return self.error(
            error_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
            f"Deadline exceeded calling {self.title}. {effect}",
            error_pb2.ERROR_OUTCOME_UNKNOWN if sent else error_pb2.ERROR_OUTCOME_NOT_SENT,
        )


def refusing_alert(failure: BaseException) -> str:
    """Return the TLS alert by which a server refused the client's certificate, in words; empty if it did not.

    With TLS 1.3 the alert comes after the handshake, in place of the response (RFC 8446 section 4.4.2.4).
    """
    cause: BaseException | None = failure
    while cause is not None:
        reason = getattr(cause, "reason", None) if isinstance(cause, ssl.SSLError) else None
        found = _REFUSING_ALERT.search(reason or "")
        if found is not None:
            return found[1].lower().replace("_", " ")
        cause = cause.__cause__ or cause.__context__
    return ""


def sanitised(text: str, max_length: int = _MAX_TEXT_LENGTH) -> str:
    """Make an upstream's words fit for a message: short printable ASCII without numbers, tokens, e-mail addresses."""
    text = _UNPRINTABLE.sub(" ", text[: 20 * max_length])
    text = _EMAIL.sub("****", _NUMBER.sub("****", _TOKEN.sub("****", text)))
    return text[:max_length].strip()


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _meaning(status: int) -> Meaning:
    if status in _MEANINGS:
        return _MEANINGS[status]
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _INVALID
    return _FAILED if HTTPStatus.INTERNAL_SERVER_ERROR <= status < 600 else _UNEXPECTED  # noqa: PLR2004 - end of 5xx


def _meaning_of_foreign(status: int) -> Meaning:
    """Return what a status means from any sender.

    401 and 429 say that the request was not processed, 5xx that it failed; a proxy also sends 503 if the upstream broke
    off.
    """
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return _BEHIND_PROXY
    meaning = _meaning(status)
    return _FOREIGN if meaning in (_INVALID, _UNEXPECTED) else meaning


def _media_type(header: str) -> str:
    return sanitised(header.partition(";")[0].lower(), _MAX_MEDIA_TYPE_LENGTH) or "no content type"


def _retry_after_seconds(header: str) -> float | None:
    """Parse a Retry-After header: seconds or a date (RFC 9110 section 10.2.3); None if it is missing or malformed."""
    header = header.strip()
    if header.isascii() and header.isdigit():
        return min(float(header), _MAX_RETRY_SECONDS)
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    # A date with the zone "-0000" is UTC and is parsed without a zone.
    seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time()
    return min(max(seconds, 0.0), _MAX_RETRY_SECONDS)


def _connection_fault(fault: BaseException | None) -> str:
    """Describe a connection failure, quoting nothing but OpenSSL's own words."""
    match fault:
        case TimeoutError():
            return "no connection was available in time"
        case socket.gaierror():
            return "its name does not resolve"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({sanitised(fault.verify_message)})"
        case ssl.SSLError():
            return f"the TLS handshake failed ({sanitised(fault.reason or 'no reason given')})"
        case _:
            return "the connection was refused or broke"
