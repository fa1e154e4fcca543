"""The grant of the current rpc's caller."""

from contextvars import ContextVar
from dataclasses import dataclass

from gateway.auth.caller import Caller

__all__ = ["Grant", "current", "use"]


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
