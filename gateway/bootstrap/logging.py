"""Log configuration of the gateway: adds the correlation id and the caller to every line."""

from collections.abc import MutableMapping
from typing import Any

from gateway.auth import grant as access
from gateway.logging import correlation, setup

__all__ = ["configure"]


def configure(level: str) -> None:
    """Configure logging, with `level` as the lowest level that is written."""
    setup.configure(level, _add_context)


def _add_context(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    correlation_id = correlation.current_printable()
    if correlation_id:
        event.setdefault("correlation_id", correlation_id)
    grant = access.current()
    if grant is not None:
        event.setdefault("caller", grant.caller.identity)
    return event
