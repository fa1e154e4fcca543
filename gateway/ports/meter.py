"""Receives an adapter's measurements of its calls to an upstream."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Final, Literal, Protocol, TypeAlias

__all__ = ["CircuitState", "Exchange", "Unmeasured", "UpstreamMeter"]

CircuitState: TypeAlias = Literal["closed", "half_open", "open"]
"""State of a circuit breaker: all requests pass, one probes, none passes."""

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Exchange:
    """A request in progress."""

    __slots__ = ("headers", "status")

    def __init__(self, headers: Mapping[str, str] = _NONE) -> None:
        self.headers = headers
        """Headers to send besides the adapter's own."""
        self.status: int | None = None
        """HTTP status of the response; the adapter sets it."""


class UpstreamMeter(Protocol):
    """Receives measurements. Arguments become labels: names from the code or the settings, never a path with an id."""

    def exchange(self, upstream: str, endpoint: str) -> AbstractContextManager[Exchange]:
        """Return a context to enter before a request is sent, and to leave with its response or exception.

        Args:
            upstream: The upstream's name.
            endpoint: HTTP method and template of the path.
        """
        ...

    def retried(self, upstream: str, endpoint: str) -> None:
        """Count a retry that is about to be sent."""
        ...

    def circuit(self, upstream: str, state: CircuitState, issuer_id: str = "") -> None:
        """Record the state of a circuit breaker: initially, and at each change.

        Args:
            upstream: The upstream's name.
            state: The state.
            issuer_id: The configured issuer whose calls alone it guards; empty if it guards those of all others.
        """
        ...

    def queue(self, upstream: str, length: Callable[[], int]) -> None:
        """Measure a queue of requests that wait for a connection; an upstream may have several.

        Args:
            upstream: The upstream's name.
            length: Returns the number of requests in the queue.
        """
        ...

    def misfit(self, upstream: str, message: str, field: str) -> None:
        """Count a field that the upstream sent in another form than it documents, or left out.

        Args:
            upstream: The upstream's name.
            message: What it sent.
            field: The field's path, from the adapter's own list.
        """
        ...


class Unmeasured:
    """An `UpstreamMeter` that discards all measurements."""

    @contextmanager
    def exchange(self, upstream: str, endpoint: str) -> Iterator[Exchange]:
        """See `UpstreamMeter`."""
        del upstream, endpoint
        yield Exchange()

    def retried(self, upstream: str, endpoint: str) -> None:
        """See `UpstreamMeter`."""

    def circuit(self, upstream: str, state: CircuitState, issuer_id: str = "") -> None:
        """See `UpstreamMeter`."""

    def queue(self, upstream: str, length: Callable[[], int]) -> None:
        """See `UpstreamMeter`."""

    def misfit(self, upstream: str, message: str, field: str) -> None:
        """See `UpstreamMeter`."""
