"""Hides the fields that the contracts mark as sensitive from ``repr``."""

import dataclasses
from typing import Any

from betterproto2 import Message

__all__ = ["redact"]


def redact(message: type[Message], *hidden: str) -> None:
    """Make a message print some of its fields as ``***``, in logs, tracebacks and failed tests.

    Args:
        message: The class; its ``repr`` is replaced.
        hidden: Names of the fields.
    """

    def redacted(self: Any) -> str:
        shown = (
            f"{field.name}={'***' if field.name in hidden else repr(value)}"
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) not in (None, "", [], {}, 0)
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    message.__repr__ = redacted  # type: ignore[method-assign] # the inherited method cannot hide fields
