"""The correlation id of the current call: set where the call arrives, sent upstream, included in every log line."""

import re
from contextvars import ContextVar
from secrets import token_hex

__all__ = ["HEADER", "current", "is_valid", "new", "use"]

HEADER = "x-correlation-id"
"""Name of the HTTP header and of the gRPC metadata key (D1 API: headers)."""

_FORM = re.compile(r"[A-Za-z0-9_-]{1,64}")
_current: ContextVar[str] = ContextVar("correlation_id", default="")


def is_valid(correlation_id: str) -> bool:
    """Return whether an id is valid: letters, digits, ``_`` and ``-``, at most 64 (D1 API: headers, v2)."""
    return _FORM.fullmatch(correlation_id) is not None


def new() -> str:
    """Return a new id."""
    return token_hex(16)


def use(correlation_id: str) -> None:
    """Set the id of the running task."""
    _current.set(correlation_id)


def current() -> str:
    """Return the id of the running task; empty outside of a call."""
    return _current.get()
