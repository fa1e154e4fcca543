"""What the caller of the rpc at hand may do."""

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
    """The issuers for which the caller may call it; None for all."""


_current: ContextVar[Grant | None] = ContextVar("grant", default=None)


def use(grant: Grant) -> None:
    """Make it the one of the running task, and of the tasks that it starts."""
    _current.set(grant)


def current() -> Grant | None:
    """Return the one of the running task; None outside of any rpc, in health, and where no policy is configured."""
    return _current.get()


def require_issuer(issuer_id: str) -> None:
    """Refuse the rpc at hand if its caller may not act for an issuer.

    Where there is no grant nothing is refused: the interceptor lets no rpc pass without one, and what runs besides
    rpcs (D1's callbacks) has no caller to ask about.

    Args:
        issuer_id: The issuer that the request means; an empty ``issuer_id`` resolved.

    Raises:
        GatewayError: PERMISSION_DENIED.
    """
    grant = _current.get()
    if grant is None or grant.issuers is None or issuer_id in grant.issuers:
        return
    _log.warning("access_denied", rpc=grant.rpc, caller=grant.caller.identity, why="not granted for this issuer")
    raise GatewayError(
        error_pb2.ERROR_REASON_PERMISSION_DENIED,
        "The policy does not grant this caller this rpc for this issuer.",
        outcome=error_pb2.OUTCOME_NOT_SENT,
    )
