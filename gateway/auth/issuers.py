"""The configured issuers, and whether a caller may act for one."""

from collections.abc import Iterable

import structlog

from gateway.auth import grant
from gateway.errors import FieldViolation, GatewayError, shown
from issuer.common.v1 import error_pb2

__all__ = ["Issuers", "authorized_issuer"]

_log = structlog.get_logger(__name__)


class Issuers:
    """The configured issuers."""

    def __init__(self, issuer_ids: Iterable[str]) -> None:
        self._ids = frozenset(issuer_ids)
        self._only = next(iter(self._ids)) if len(self._ids) == 1 else ""

    def __contains__(self, issuer_id: object) -> bool:
        return issuer_id in self._ids

    def resolve(self, issuer_id: str) -> str:
        """Return the issuer that a request names, configured or not; otherwise the only one, or an empty string."""
        return issuer_id or self._only


def authorized_issuer(issuers: Issuers, issuer_id: str) -> str:
    """Return the issuer of a request, after checking that the caller may act for it.

    Args:
        issuers: The configured issuers.
        issuer_id: The issuer that the request names; empty for the only one.

    Raises:
        GatewayError: PERMISSION_DENIED, ISSUER_UNKNOWN or ISSUER_REQUIRED.
    """
    resolved = issuers.resolve(issuer_id)
    if not resolved:
        raise GatewayError(
            error_pb2.ERROR_REASON_ISSUER_REQUIRED,
            "The gateway serves several issuers; set issuer_id.",
            outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
            violations=[FieldViolation("issuer_id", "must name one of the configured issuers", "issuer.required")],
        )
    current = grant.current()
    # First, so that only authorised callers learn whether an issuer is configured. No rpc gets here without a grant.
    if current is not None and current.issuers is not None and resolved not in current.issuers:
        _log.warning(
            "access_denied", rpc=current.rpc, caller=current.caller.identity, why="not granted for this issuer"
        )
        raise GatewayError(
            error_pb2.ERROR_REASON_PERMISSION_DENIED,
            f"The policy does not grant {current.rpc[1:]} to {current.caller.identity} for issuer {shown(resolved)}; "
            "ask the gateway's operators for a grant.",
            outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
        )
    if resolved not in issuers:
        raise GatewayError(
            error_pb2.ERROR_REASON_ISSUER_UNKNOWN,
            f"This gateway is not configured for issuer {shown(resolved)}: correct issuer_id.",
            outcome=error_pb2.ERROR_OUTCOME_NOT_SENT,
        )
    return resolved
