"""Traces: spans around the gateway's work, and trace context that passes from callers to upstreams."""

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["Carrier", "Tracing", "can_export", "configured", "endpoint", "fail"]

Carrier: TypeAlias = "Iterable[tuple[str, str | bytes]]"
"""gRPC metadata, or HTTP headers."""

_log = structlog.get_logger(__name__)
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_CONTEXT: Final = frozenset({"traceparent", "tracestate"})
# Propagates the trace context alone: baggage may hold anything that a caller likes.
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Tracing:
    """Starts OpenTelemetry spans. Attributes never hold card data or the id of a card or a person."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        """Initialise.

        Args:
            provider: Records and exports spans; `close` shuts it down. None to create no spans.
        """
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("d1-gateway")

    @property
    def is_on(self) -> bool:
        """Whether it creates spans."""
        return self._tracer is not None

    def span(self, name: str, kind: SpanKind, carrier: Carrier = ()) -> AbstractContextManager[Span]:
        """Return a span to enter; it becomes a child of the running task's span.

        Args:
            name: A name from the code, never a path with an id.
            kind: OpenTelemetry's kind of span.
            carrier: For a server: where the caller's trace context may be (W3C Trace Context).
        """
        if self._tracer is None:
            # OpenTelemetry's no-op tracer takes 3 us for a span, this 0.2 us.
            return INVALID_SPAN
        given = {key.lower(): value for key, value in carrier if key.lower() in _CONTEXT and isinstance(value, str)}
        parent = _PROPAGATOR.extract(given) if given else None
        # An exception's text may quote an upstream, so it stays out of the trace.
        return self._tracer.start_as_current_span(
            name, parent, kind, record_exception=False, set_status_on_exception=False
        )

    def headers(self) -> Mapping[str, str]:
        """Return the headers that let an upstream continue the running task's trace."""
        if self._tracer is None:
            return _NONE
        headers: dict[str, str] = {}
        _PROPAGATOR.inject(headers)
        return headers

    def close(self) -> None:
        """Export pending spans and shut down; blocks."""
        if self._provider is not None:
            self._provider.shutdown()


def fail(span: Span, why: str) -> None:
    """Mark a span as failed, with an error type from the code."""
    span.set_attribute("error.type", why)
    span.set_status(StatusCode.ERROR)


def endpoint(environment: Mapping[str, str] | None = None) -> str | None:
    """Return the OTLP endpoint that OpenTelemetry's variables name; None if they name none, or disable it.

    Args:
        environment: Environment variables; None for those of the process.
    """
    found = os.environ if environment is None else environment
    if found.get("OTEL_SDK_DISABLED", "").lower() == "true" or found.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    return next((found[name] for name in _ENDPOINTS if found.get(name)), None)


def can_export() -> bool:
    """Return whether the extra ``otel`` is installed."""
    return find_spec("opentelemetry.sdk") is not None and find_spec("opentelemetry.exporter") is not None


def configured(environment: Mapping[str, str] | None = None) -> Tracing:
    """Export traces if OpenTelemetry's variables name an OTLP endpoint and the extra ``otel`` is installed.

    Args:
        environment: Environment variables; None for those of the process.
    """
    if endpoint(environment) is None:
        return Tracing()
    try:
        return Tracing(_exporting())
    except ImportError:
        _log.warning("traces_not_exported", missing="d1-gateway[otel]")
        return Tracing()


def _exporting() -> "TracerProvider":
    """Return a provider that exports by OTLP over HTTP, configured by the environment's ``OTEL_*`` variables."""
    # The extra `otel` is optional, and slow to import.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415  only with the extra
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource  # noqa: PLC0415  only with the extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415  only with the extra
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415  only with the extra

    resource = Resource.create({SERVICE_NAME: "d1-gateway"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
