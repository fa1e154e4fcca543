"""Traces: spans around what the gateway does, and the trace context that goes from callers to upstreams."""

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Final, Literal, Protocol, Self, TypeAlias

import structlog

__all__ = ["Carrier", "Kind", "Span", "Tracing", "Untraced", "configured"]

Kind: TypeAlias = Literal["server", "client", "internal"]
"""Whether it serves somebody, calls somebody, or does neither."""

Carrier: TypeAlias = "Iterable[tuple[str, str | bytes]]"
"""gRPC metadata, or HTTP headers."""

_log = structlog.get_logger(__name__)
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Span(Protocol):
    """A piece of work in a trace."""

    def set(self, name: str, value: str | int) -> None:
        """Note a fact: never card data, never an id of a card or a person."""
        ...

    def fail(self, why: str) -> None:
        """Note that it failed, and why in a word of our own."""
        ...


class Tracing(Protocol):
    """Makes spans."""

    def span(self, name: str, kind: Kind, carrier: Carrier = ()) -> AbstractContextManager[Span]:
        """Return a span to be entered, within the one that the running task is in.

        Args:
            name: What is done: a name from the code, never a path with an id.
            kind: On whose behalf.
            carrier: What may hold the caller's trace context (W3C Trace Context); for a server.
        """
        ...

    def headers(self) -> Mapping[str, str]:
        """Return what an upstream has to be sent to continue the trace that the running task is in."""
        ...

    def close(self) -> None:
        """Send what has not been sent. Blocks."""
        ...


class Untraced:
    """Makes no spans: it is the one that it gives."""

    def span(self, name: str, kind: Kind, carrier: Carrier = ()) -> "Untraced":
        """See `Tracing`."""
        del name, kind, carrier
        return self

    def headers(self) -> Mapping[str, str]:
        """See `Tracing`."""
        return _NONE

    def close(self) -> None:
        """See `Tracing`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Let an error pass."""

    def set(self, name: str, value: str | int) -> None:
        """See `Span`."""

    def fail(self, why: str) -> None:
        """See `Span`."""


def configured(environment: Mapping[str, str] | None = None) -> Tracing:
    """Trace if an OTLP endpoint is configured in OpenTelemetry's own variables, and the extra ``otel`` is installed.

    Args:
        environment: Where the variables are; the process's own environment if None.
    """
    found = os.environ if environment is None else environment
    is_disabled = found.get("OTEL_SDK_DISABLED", "").lower() == "true" or found.get("OTEL_TRACES_EXPORTER") == "none"
    if is_disabled or not any(found.get(name) for name in _ENDPOINTS):
        return Untraced()
    try:
        from gateway.telemetry import otel  # noqa: PLC0415 (an extra: it need not be there)
    except ImportError:
        _log.warning("no traces: they need d1-gateway[otel]")
        return Untraced()
    return otel.OtelTracing(otel.exporting())
