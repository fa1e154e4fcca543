"""How an adapter tells of an upstream's failure: one form of error for all of them.

Every error says whether the upstream may have acted (its outcome). Where that is not certain it is UNKNOWN: taking an
executed change for one that was not sent would make a caller repeat it.
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

from adapters.http.response import UpstreamResponse
from gateway.errors import FieldViolation, GatewayError, Outcome, Reason
from issuer.common.v1 import error_pb2

__all__ = ["RETRYABLE", "RETRY_SECONDS", "Meaning", "RefusedError", "Upstream", "sanitised"]

RETRY_SECONDS: Final = 1.0
"""After how long a retry makes sense where the upstream does not say."""

RETRYABLE: Final = frozenset(
    {error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED, error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE}
)
"""The reasons of a refusal that is worth a retry as it is."""

_LONGEST_RETRY_SECONDS: Final = 86_400.0
_LONGEST_TEXT: Final = 200

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
# What could be a token or encrypted data: the start of a JOSE header, or a run longer than any id.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_.=-]*|[A-Za-z0-9_.+/=~-]{65,}")
# What could be a card, account or phone number, in groups or not.
_NUMBER = re.compile(r"[0-9](?:[ ._-]?[0-9]){3,}")
_EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]+")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an HTTP status means."""

    reason: Reason
    outcome: Outcome
    text: str
    """For people; ``{upstream}`` stands for the upstream's name."""


_INVALID = Meaning(
    error_pb2.ERROR_REASON_UPSTREAM_INVALID, error_pb2.OUTCOME_REJECTED, "{upstream} refuses the request"
)
_FAILED = Meaning(error_pb2.ERROR_REASON_UPSTREAM_FAILED, error_pb2.OUTCOME_UNKNOWN, "{upstream} failed")
_UNEXPECTED = Meaning(
    error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
    error_pb2.OUTCOME_UNKNOWN,
    "{upstream} answered with an unexpected status",
)
# A proxy says 502 or 504 when it may have passed the request on.
_BEHIND_PROXY = Meaning(
    error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, error_pb2.OUTCOME_UNKNOWN, "{upstream} did not answer its own proxy"
)
_MEANINGS: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        HTTPStatus.UNAUTHORIZED: Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION,
            error_pb2.OUTCOME_REJECTED,
            "{upstream} refuses the gateway's credentials",
        ),
        HTTPStatus.TOO_MANY_REQUESTS: Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED,
            error_pb2.OUTCOME_REJECTED,
            "{upstream} limits the rate of calls",
        ),
        HTTPStatus.SERVICE_UNAVAILABLE: Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE, error_pb2.OUTCOME_REJECTED, "{upstream} cannot serve now"
        ),
        HTTPStatus.BAD_GATEWAY: _BEHIND_PROXY,
        HTTPStatus.GATEWAY_TIMEOUT: _BEHIND_PROXY,
    }
)


class RefusedError(GatewayError):
    """An answer without success."""

    asked_seconds: float | None = None
    """For how long the answer asks to be left alone (Retry-After), whatever became of the request."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A system outside, as errors name it."""

    name: str
    """For programs: ``ErrorInfo.metadata["upstream"]``."""
    title: str
    """For people, as it stands within a sentence."""

    def error(
        self,
        reason: Reason,
        message: str,
        outcome: Outcome,
        *,
        retry_after_seconds: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> GatewayError:
        """Make an error that names this upstream. Metadata that is empty is left out."""
        return GatewayError(
            reason,
            message,
            outcome=outcome,
            retry_after_seconds=retry_after_seconds,
            metadata=self.metadata(metadata or {}),
        )

    def metadata(self, facts: Mapping[str, str]) -> dict[str, str]:
        """Return the facts that are known, and whose they are."""
        return {"upstream": self.name} | {name: value for name, value in facts.items() if value}

    def refusal(
        self,
        answer: UpstreamResponse,
        special: Mapping[int, Meaning],
        *,
        code: str = "",
        detail: str = "",
        violations: Sequence[FieldViolation] = (),
    ) -> RefusedError:
        """Tell what an answer without success means by its status.

        A status that nobody listed is read as its class is: a 4xx as 400, a 5xx as 500.

        Args:
            answer: The answer.
            special: The statuses that have a meaning of their own at this upstream.
            code: The upstream's own error code, fit for a caller.
            detail: The upstream's own words, sanitised.
            violations: The fields that the upstream finds wrong.
        """
        meaning = special.get(answer.status) or _meaning(answer.status)
        text = _sentence(meaning.text.format(upstream=self.title))
        status = f"HTTP {answer.status}, {code}" if code else f"HTTP {answer.status}"
        # Where the outcome is unknown, a delay would read as leave to repeat the call.
        retryable = meaning.reason in RETRYABLE and meaning.outcome == error_pb2.OUTCOME_REJECTED
        asked = _retry_after_seconds(answer.retry_after)
        error = RefusedError(
            meaning.reason,
            f"{text} ({status}): {detail}" if detail else f"{text} ({status}).",
            outcome=meaning.outcome,
            retry_after_seconds=(RETRY_SECONDS if asked is None else asked) if retryable else None,
            violations=violations,
            metadata=self.metadata({"upstream_status": str(answer.status), "upstream_code": code}),
        )
        error.asked_seconds = asked
        return error

    def contract_broken(self, message: str, *, status: int | None) -> GatewayError:
        """Tell of an answer that cannot be read, or that lacks what it has to hold. The request was sent."""
        return self.error(
            error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
            message,
            error_pb2.OUTCOME_UNKNOWN,
            metadata={"upstream_status": "" if status is None else str(status)},
        )

    def unreachable(self, failure: Exception) -> GatewayError:
        """Tell that no connection could be made, and what kind of failure it was. Nothing was sent."""
        return self.error(
            error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE,
            f"No connection to {self.title} could be made: {_connection_fault(failure)}.",
            error_pb2.OUTCOME_NOT_SENT,
            retry_after_seconds=RETRY_SECONDS,
        )

    def circuit_open(self, seconds: float) -> GatewayError:
        """Tell that the upstream has failed so often that it is left alone for so many seconds. Nothing was sent."""
        return self.error(
            error_pb2.ERROR_REASON_UPSTREAM_CIRCUIT_OPEN,
            _sentence(f"{self.title} has failed so often lately that it is left alone for a moment."),
            error_pb2.OUTCOME_NOT_SENT,
            retry_after_seconds=seconds,
        )

    def overcrowded(self) -> GatewayError:
        """Tell that too many calls wait for the upstream already. Nothing was sent."""
        return self.error(
            error_pb2.ERROR_REASON_TOO_MANY_REQUESTS,
            f"Too many calls wait for {self.title} already.",
            error_pb2.OUTCOME_NOT_SENT,
            retry_after_seconds=RETRY_SECONDS,
        )

    def no_answer(self) -> GatewayError:
        """Tell that the connection broke after the request was sent and before its answer was complete."""
        return self.error(
            error_pb2.ERROR_REASON_UPSTREAM_NO_ANSWER,
            f"The connection to {self.title} broke before its answer was complete. The request may have taken effect.",
            error_pb2.OUTCOME_UNKNOWN,
        )

    def deadline_exceeded(self, *, sent: bool) -> GatewayError:
        """Tell that time ran out, and whether the request had been sent by then."""
        effect = "The request was sent and may have taken effect." if sent else "Nothing was sent."
        return self.error(
            error_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
            f"The time for the call to {self.title} is over. {effect}",
            error_pb2.OUTCOME_UNKNOWN if sent else error_pb2.OUTCOME_NOT_SENT,
        )


def sanitised(text: str, longest: int = _LONGEST_TEXT) -> str:
    """Make an upstream's words fit for a message: printable ASCII, short, no number, token or e-mail address in it."""
    text = _UNPRINTABLE.sub(" ", text[: 20 * longest])
    text = _EMAIL.sub("****", _NUMBER.sub("****", _TOKEN.sub("****", text)))
    return text[:longest].strip()


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _meaning(status: int) -> Meaning:
    if status in _MEANINGS:
        return _MEANINGS[status]
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _INVALID
    return _FAILED if HTTPStatus.INTERNAL_SERVER_ERROR <= status < 600 else _UNEXPECTED  # noqa: PLR2004 - end of 5xx


def _retry_after_seconds(header: str) -> float | None:
    """Read a Retry-After header: seconds or a date (RFC 9110 section 10.2.3); None if it is neither, or not there."""
    header = header.strip()
    if header.isascii() and header.isdigit():
        return min(float(header), _LONGEST_RETRY_SECONDS)
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
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
