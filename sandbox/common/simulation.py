"""What the simulators of a sandbox have in common."""

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.common.faults import Faults
from sandbox.common.state import State

__all__ = ["Simulation"]


@dataclass(frozen=True, slots=True)
class Simulation:
    """What each simulator gets."""

    faults: Faults
    """The faults on demand."""
    state: State
    """Keeps what the simulators remember."""
    clock: Callable[[], float]
    """Returns the time, in seconds since 1970 (UTC)."""
    host: str
    """The address to listen on."""
