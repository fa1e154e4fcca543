"""What a measurement found: plain numbers, to be written down, drawn and compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One server under one load, a value for each round. What was not measured is empty."""

    scenario: str
    """What is measured: ``unary``, ``intake``, ``fan-out``."""
    case: str
    """Under which load, in words: ``32 in flight, TLS``."""
    server: str
    """``gateway``, or the name of a baseline."""
    per_second: Sequence[float] = ()
    """Requests, or notifications delivered."""
    p50_ms: Sequence[float] = ()
    p95_ms: Sequence[float] = ()
    p99_ms: Sequence[float] = ()
    cpu_us: Sequence[float] = ()
    """Microseconds of the server's processor time for each request."""
    rss_mib: Sequence[float] = ()
    """The server's resident memory at the end of the round."""
    more: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Whatever else the scenario measures, by its name with its unit."""
