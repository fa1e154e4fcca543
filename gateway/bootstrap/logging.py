"""Logs: one JSON object a line on standard error, with the correlation id of the work at hand, and who caused it."""

from collections.abc import MutableMapping
from typing import Any

from gateway.auth import grant as access
from gateway.logging import correlation, setup

__all__ = ["configure"]


def configure(level: str) -> None:
    """Set up structlog, and the standard library's logging of the libraries we use.

    Args:
        level: The least severe level that is written.
    """
    setup.configure(level, _add_context)


def _add_context(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    correlation_id = correlation.current()
    if correlation_id:
        event.setdefault("correlation_id", correlation_id)
    grant = access.current()
    if grant is not None:
        event.setdefault("caller", grant.caller.identity)
    return event
