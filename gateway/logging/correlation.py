"""The correlation id of the current call: set where the call arrives, sent upstream, included in every log line."""

import re
from contextvars import ContextVar
from secrets import token_hex

__all__ = ["FORM", "HEADER", "current", "current_printable", "is_valid", "new", "received", "use"]

HEADER = "x-correlation-id"
"""Name of the HTTP header and of the gRPC metadata key (D1 API: headers)."""

FORM = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Form of an id that the gateway sends (D1 API: headers, v2)."""
_MAX_PRINTED = 128
_CARD_NUMBER = re.compile(r"[0-9](?:[ -]?[0-9]){11,}")
_current: ContextVar[str] = ContextVar("correlation_id", default="")


def is_valid(correlation_id: str) -> bool:
    """Return whether an id is valid: letters, digits, ``_`` and ``-``, at most 64 (D1 API: headers, v2)."""
    return FORM.fullmatch(correlation_id) is not None


def received(given: str) -> str:
    """Return the id that a card platform sent with a callback: any text, without spaces around it.

    What is no text in UTF-8 becomes ``?``. If it sent none, the id is new.
    """
    return given.strip().encode("utf-8", "replace").decode() or new()


def new() -> str:
    """Return a new id."""
    return token_hex(16)


def use(correlation_id: str) -> None:
    """Set the id of the running task."""
    _current.set(correlation_id)


def current() -> str:
    """Return the id of the running task; empty outside of a call."""
    return _current.get()


def current_printable() -> str:
    """Return `current` for logs and traces.

    Of an id of another form than ours, they get 128 characters at most, ``?`` for what cannot be printed, and no number
    that could be a card's.
    """
    correlation_id = _current.get()
    if not correlation_id or is_valid(correlation_id):
        return correlation_id
    shown = _CARD_NUMBER.sub("****", correlation_id)[:_MAX_PRINTED]
    return "".join(each if each.isprintable() else "?" for each in shown)
