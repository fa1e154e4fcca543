"""The context of a call to an upstream."""

import asyncio
from dataclasses import dataclass

__all__ = ["Call"]


@dataclass(frozen=True, slots=True)
class Call:
    """What a call to an upstream needs to know of the rpc that causes it."""

    issuer_id: str
    """The issuer on whose behalf the call is made."""
    correlation_id: str
    """Sent to the upstream as ``x-correlation-id``, and part of every log line."""
    deadline: float | None = None
    """The caller's deadline, in seconds of the event loop's clock; None if there is none."""

    def remaining_seconds(self) -> float | None:
        """Return the time left, never less than 0; None without a deadline."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - asyncio.get_running_loop().time())
