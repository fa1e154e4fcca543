"""Translates the 3-D Secure server's error responses to `GatewayError`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from adapters.http.errors import RETRY_SECONDS, Meaning, Upstream, sanitised
from adapters.http.response import UpstreamResponse
from gateway.errors import ErrorOutcome, GatewayError, Reason
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import erro_pb2

__all__ = ["THREEDS", "ErroError", "is_erro", "rejection", "transaction_unknown"]

THREEDS: Final = Upstream("threeds", "the 3DS server")

_ERRO: Final = "Erro"
_MAX_DETAIL_LENGTH: Final = 500
"""Room for the names of many fields, within a gRPC client's limit for metadata."""

_AREQ_TYPES: Final = frozenset({"", "AReq"})
"""``errorMessageType`` of an Erro about the AReq. Others are about what came back for it."""

_CODE = re.compile(r"[0-9]{3}")
_REJECTION = re.compile(r"[123][0-9]{2}")
_WORD = re.compile(r"[A-Za-z]{1,8}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")

_COMPONENTS: Final[Mapping[str, str]] = MappingProxyType(
    {"A": "The ACS", "C": "The 3DS SDK", "D": "The directory server", "S": "The 3DS server"}
)


@dataclass(frozen=True, slots=True)
class _Fault:
    """Meaning of an error code."""

    reason: Reason
    outcome: ErrorOutcome
    text: str
    """Text for people, after the name of the component that reports it."""


_REJECTED = _Fault(error_pb2.ERROR_REASON_THREE_DS_REJECTED, error_pb2.ERROR_OUTCOME_REJECTED, "rejects the request")
_UNLISTED = _Fault(
    error_pb2.ERROR_REASON_UPSTREAM_CONTRACT, error_pb2.ERROR_OUTCOME_UNKNOWN, "reports an error with an unknown code"
)
_TIMED_OUT = _Fault(
    error_pb2.ERROR_REASON_THREE_DS_TIMED_OUT,
    error_pb2.ERROR_OUTCOME_REJECTED,
    "reports that a party did not respond in time or could not be reached",
)
_FAULTS: Final[Mapping[str, _Fault]] = MappingProxyType(
    {
        "402": _TIMED_OUT,
        "403": _Fault(
            error_pb2.ERROR_REASON_THREE_DS_TRANSIENT_FAILURE,
            error_pb2.ERROR_OUTCOME_REJECTED,
            "reports a transient fault of a party",
        ),
        "404": _Fault(
            error_pb2.ERROR_REASON_THREE_DS_PERMANENT_FAILURE,
            error_pb2.ERROR_OUTCOME_REJECTED,
            "reports a permanent fault of a party",
        ),
        "405": _TIMED_OUT,
    }
)
_ON_THE_WAY: Final = frozenset(
    {
        error_pb2.ERROR_REASON_THREE_DS_TIMED_OUT,
        error_pb2.ERROR_REASON_THREE_DS_TRANSIENT_FAILURE,
        error_pb2.ERROR_REASON_THREE_DS_PERMANENT_FAILURE,
    }
)
"""Reasons that do not say how far the AReq came: the ACS may have decided, or started a challenge."""
# The server reports errors in a request by an Erro. Without an Erro, these point to the gateway's settings.
_MEANINGS: Final[Mapping[int, Meaning]] = MappingProxyType(
    {
        HTTPStatus.FORBIDDEN: Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION,
            error_pb2.ERROR_OUTCOME_REJECTED,
            "{upstream} denies access to the gateway",
        ),
        HTTPStatus.NOT_FOUND: Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
            error_pb2.ERROR_OUTCOME_REJECTED,
            "{upstream} has nothing at this address",
        ),
        HTTPStatus.METHOD_NOT_ALLOWED: Meaning(
            error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
            error_pb2.ERROR_OUTCOME_REJECTED,
            "{upstream} does not accept this call at this address",
        ),
    }
)


class ErroError(GatewayError):
    """An Erro from a party of a 3-D Secure transaction (EMV 3DS: error message)."""

    def __init__(self, erro: erro_pb2.Erro, status: int, *, harmless: bool) -> None:
        """Interpret an Erro, whose content is not trusted.

        Args:
            erro: The Erro.
            status: The HTTP status that it came with.
            harmless: Whether the call has no effect that could be in doubt: true of all but an AReq.
        """
        self.error_code = erro.error_code if _CODE.fullmatch(erro.error_code) else ""
        self.error_component = erro.error_component if erro.error_component in _COMPONENTS else ""
        fault = _FAULTS.get(self.error_code, _REJECTED if _REJECTION.fullmatch(self.error_code) else _UNLISTED)
        in_doubt = fault.reason in _ON_THE_WAY or erro.error_message_type not in _AREQ_TYPES
        outcome = error_pb2.ERROR_OUTCOME_UNKNOWN if in_doubt and not harmless else fault.outcome
        # If the outcome is unknown, a delay would read as permission to repeat the call.
        retryable = harmless and fault.reason == error_pb2.ERROR_REASON_THREE_DS_TRANSIENT_FAILURE
        super().__init__(
            fault.reason,
            _message(self.error_code, self.error_component, fault.text, erro),
            outcome=outcome,
            retry_after_seconds=RETRY_SECONDS if retryable else None,
            detail=error_pb2.ErrorDetail(
                upstream=THREEDS.name,
                upstream_status=status,
                upstream_code=self.error_code,
                erro=_erro(self.error_component, erro),
            ),
        )


def is_erro(message: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is an Erro: by its type or, without one, by a code of EMV 3DS."""
    code = message.get("errorCode")
    is_untyped = not message.get("messageType")
    return message.get("messageType") == _ERRO or (is_untyped and isinstance(code, str) and bool(_CODE.fullmatch(code)))


def rejection(response: UpstreamResponse) -> GatewayError:
    """Return the error for a failure without an Erro: a wrong API key, or a proxy's own response."""
    return THREEDS.rejection(response, _MEANINGS)


def transaction_unknown(error: ErroError) -> GatewayError:
    """Return the error for a transaction that the 3DS server does not know, or knows no more."""
    return GatewayError(
        error_pb2.ERROR_REASON_THREE_DS_TRANSACTION_UNKNOWN,
        "The 3DS server does not know this transaction, or no longer does.",
        outcome=error_pb2.ERROR_OUTCOME_REJECTED,
        detail=error.detail,
    )


def _message(code: str, component: str, text: str, erro: erro_pb2.Erro) -> str:
    component_name = _COMPONENTS.get(component, "A party of the transaction")
    name = f"Erro {code}" if code else "Erro"
    words = ": ".join(filter(None, (sanitised(erro.error_description), sanitised(erro.error_detail))))
    return f"{component_name} {text} ({name}): {words}" if words else f"{component_name} {text} ({name})."


def _erro(component: str, erro: erro_pb2.Erro) -> error_pb2.ThreeDSErro:
    return error_pb2.ThreeDSErro(
        error_component=component,
        error_description=sanitised(erro.error_description),
        error_detail=sanitised(erro.error_detail, _MAX_DETAIL_LENGTH),
        error_message_type=_only(_WORD, erro.error_message_type),
        # Not sanitised, because that would mask their digits as card numbers.
        three_ds_server_trans_id=_only(_UUID, erro.three_ds_server_trans_id),
        acs_trans_id=_only(_UUID, erro.acs_trans_id),
        ds_trans_id=_only(_UUID, erro.ds_trans_id),
        sdk_trans_id=_only(_UUID, erro.sdk_trans_id),
    )


def _only(form: re.Pattern[str], text: str) -> str:
    return text if form.fullmatch(text) else ""
