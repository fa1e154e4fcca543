"""What is told to whoever asks whether the gateway is ready."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["OK", "Phase", "Report"]

Phase: TypeAlias = Literal["starting", "serving", "draining"]
"""Where in its life a gateway is: ``serving`` once both servers take calls."""

OK: Final = "ok"
"""What a check says of which nothing is wrong."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found."""

    checks: Mapping[str, str]
    """``ok``, or what is wrong, for each."""
    circuits: Mapping[str, str]
    """How the circuit breaker of each upstream stands. For people: it decides nothing."""

    @property
    def is_ready(self) -> bool:
        """Whether all is well."""
        return all(result == OK for result in self.checks.values())
