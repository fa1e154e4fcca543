"""The correlation id of the work at hand: made where a call comes in, carried upstream and into every log."""

import re
from contextvars import ContextVar
from secrets import token_hex

__all__ = ["HEADER", "current", "is_valid", "new", "use"]

HEADER = "x-correlation-id"
"""Its name, as HTTP header and as gRPC metadata (D1 API: headers)."""

_FORM = re.compile(r"[A-Za-z0-9_-]{1,64}")
_current: ContextVar[str] = ContextVar("correlation_id", default="")


def is_valid(correlation_id: str) -> bool:
    """Tell whether D1 takes it: letters, digits, ``_`` and ``-``, at most 64 (D1 API: headers, v2)."""
    return _FORM.fullmatch(correlation_id) is not None


def new() -> str:
    """Make one."""
    return token_hex(16)


def use(correlation_id: str) -> None:
    """Make it the one of the running task."""
    _current.set(correlation_id)


def current() -> str:
    """Return the one of the running task; empty outside of any call."""
    return _current.get()
