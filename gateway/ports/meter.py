"""What an adapter reports of its calls to an upstream; it need not know who listens."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Final, Literal, Protocol, TypeAlias

__all__ = ["CircuitState", "Exchange", "Unmeasured", "UpstreamMeter"]

CircuitState: TypeAlias = Literal["closed", "half_open", "open"]
"""Whether calls go out: all, a few to try, none."""

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Exchange:
    """One request on its way, and its answer."""

    __slots__ = ("headers", "status")

    def __init__(self, headers: Mapping[str, str] = _NONE) -> None:
        self.headers = headers
        """What to send along, beside the adapter's own headers."""
        self.status: int | None = None
        """The HTTP status of the answer: to be set when there is one."""


class UpstreamMeter(Protocol):
    """Listens to adapters. What it is told becomes labels: names from the code, never an id or a path with one."""

    def exchange(self, upstream: str, endpoint: str) -> AbstractContextManager[Exchange]:
        """Return what is entered before one request is sent and left with its answer, or with why there is none.

        Args:
            upstream: The upstream's name.
            endpoint: The call: its method and the template of its path.
        """
        ...

    def retried(self, upstream: str, endpoint: str) -> None:
        """Note that a request is about to be sent once more."""
        ...

    def circuit(self, upstream: str, state: CircuitState) -> None:
        """Note how the circuit breaker of an upstream stands: at the start, and whenever that changes."""
        ...


class Unmeasured:
    """An `UpstreamMeter` to which nobody listens."""

    @contextmanager
    def exchange(self, upstream: str, endpoint: str) -> Iterator[Exchange]:
        """See `UpstreamMeter`."""
        del upstream, endpoint
        yield Exchange()

    def retried(self, upstream: str, endpoint: str) -> None:
        """See `UpstreamMeter`."""

    def circuit(self, upstream: str, state: CircuitState) -> None:
        """See `UpstreamMeter`."""
