"""Which issuers the gateway serves."""

from collections.abc import Iterable

from gateway.auth import grant
from gateway.errors import FieldViolation, GatewayError
from issuer.common.v1 import error_pb2

__all__ = ["Issuers"]


class Issuers:
    """The configured issuers; finds the one that a request means."""

    def __init__(self, issuer_ids: Iterable[str]) -> None:
        self._ids = frozenset(issuer_ids)
        self._only = next(iter(self._ids)) if len(self._ids) == 1 else None

    def __contains__(self, issuer_id: object) -> bool:
        return issuer_id in self._ids

    def resolve(self, issuer_id: str) -> str:
        """Return the issuer that a request names, or the only one if it names none.

        Raises:
            GatewayError: PERMISSION_DENIED, ISSUER_UNKNOWN or ISSUER_REQUIRED.
        """
        named = issuer_id or self._only
        if named is not None:
            # Before it is said whether there is such an issuer: that is only for those who may act for it.
            grant.require_issuer(named)
        if named in self._ids:
            return named
        if named is not None:
            raise GatewayError(
                error_pb2.ERROR_REASON_ISSUER_UNKNOWN,
                "The gateway is not configured for this issuer_id.",
                outcome=error_pb2.OUTCOME_NOT_SENT,
            )
        raise GatewayError(
            error_pb2.ERROR_REASON_ISSUER_REQUIRED,
            "The gateway serves several issuers: set issuer_id.",
            outcome=error_pb2.OUTCOME_NOT_SENT,
            violations=[FieldViolation("issuer_id", "must name one of the configured issuers", "issuer.required")],
        )
