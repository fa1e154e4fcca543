"""The grant of the current rpc's caller."""

from contextvars import ContextVar
from dataclasses import dataclass

import structlog

from gateway.auth.caller import Caller
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2

__all__ = ["Grant", "current", "require_issuer", "use"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Grant:
    """The permission under which an rpc runs."""

    caller: Caller
    rpc: str
    """The full name, for example ``/issuer.card.v1.CardService/CreateCard``."""
    issuers: frozenset[str] | None
    """The issuers that the grant covers; None for all."""


_current: ContextVar[Grant | None] = ContextVar("grant", default=None)


def use(grant: Grant) -> None:
    """Set the grant of the current task, and of the tasks that it starts."""
    _current.set(grant)


def current() -> Grant | None:
    """Return the current task's grant; None outside of rpcs, in health, and without a configured policy."""
    return _current.get()


def require_issuer(issuer_id: str) -> None:
    """Deny the current rpc if its caller may not act for an issuer.

    Without a grant nothing is denied: the interceptor passes no rpc without one, and code outside of rpcs (the card
    platform's callbacks) has no caller.

    Args:
        issuer_id: The resolved issuer of the request.

    Raises:
        GatewayError: PERMISSION_DENIED.
    """
    grant = _current.get()
    if grant is None or grant.issuers is None or issuer_id in grant.issuers:
        return
    _log.warning("access_denied", rpc=grant.rpc, caller=grant.caller.identity, why="not granted for this issuer")
    raise GatewayError(
        error_pb2.ERROR_REASON_PERMISSION_DENIED,
        "The policy does not grant this rpc to this caller for this issuer.",
        outcome=error_pb2.OUTCOME_NOT_SENT,
    )
