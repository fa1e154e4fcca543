"""What can be seen of the handler that answers D1's callbacks for the sandbox."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Answer", "Answering"]


@dataclass(eq=False, slots=True)
class Answer:
    """The answer to a callback while it is made, and after."""

    kind: str
    correlation_id: str
    began: float
    """When the request came, in seconds since 1970 (UTC)."""
    milliseconds: float | None = None
    """The time to the reply; None before, or without one."""
    refused: bool = False
    fault: str | None = None
    """The fault on demand that it met."""


class Answering(Protocol):
    """The handler."""

    kinds: tuple[str, ...]
    """The kinds that it should answer."""
    answered: tuple[str, ...]
    """The kinds for which it is registered at the gateway."""
    on_answer: Callable[[Answer], None]
    """Called when a callback request comes, and when its reply goes."""

    @property
    def all_kinds(self) -> tuple[str, ...]:
        """The kinds that it can answer."""
        ...
