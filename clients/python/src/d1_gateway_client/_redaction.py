"""Hides from ``repr`` what the contracts mark as sensitive."""

import dataclasses
from typing import Any

from betterproto2 import Message

__all__ = ["redact"]


def redact(message: type[Message], *hidden: str) -> None:
    """Have a message hide some of its fields when it is printed: logs, tracebacks and failed tests show ``***``.

    Args:
        message: The class; its ``repr`` is replaced.
        hidden: The names of the fields.
    """

    def redacted(self: Any) -> str:
        shown = (
            f"{field.name}={'***' if field.name in hidden else repr(value)}"
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) not in (None, "", [], {}, 0)
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    message.__repr__ = redacted  # type: ignore[method-assign] # what the generated class inherits cannot hide anything
