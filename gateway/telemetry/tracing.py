"""Traces: spans around what the gateway does, and the trace context that goes from callers to upstreams."""

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["Carrier", "Tracing", "configured", "fail"]

Carrier: TypeAlias = "Iterable[tuple[str, str | bytes]]"
"""gRPC metadata, or HTTP headers."""

_log = structlog.get_logger(__name__)
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_CONTEXT: Final = frozenset({"traceparent", "tracestate"})
# Nothing but the trace context: baggage may hold whatever a caller likes.
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Tracing:
    """Starts OpenTelemetry's spans. Attributes never hold card data, or an id of a card or a person."""

    def __init__(self, provider: "TracerProvider | None" = None) -> None:
        """Prepare.

        Args:
            provider: Records and exports the spans, and is shut down with this; None for no spans at all.
        """
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("d1-gateway")

    def span(self, name: str, kind: SpanKind, carrier: Carrier = ()) -> AbstractContextManager[Span]:
        """Return a span to be entered, within the one that the running task is in.

        Args:
            name: What is done: a name from the code, never a path with an id.
            kind: On whose behalf.
            carrier: What may hold the caller's trace context (W3C Trace Context); for a server.
        """
        if self._tracer is None:
            # OpenTelemetry's own tracer without an SDK takes 3 us for a span, this 0.2 us.
            return INVALID_SPAN
        given = {key.lower(): value for key, value in carrier if key.lower() in _CONTEXT and isinstance(value, str)}
        parent = _PROPAGATOR.extract(given) if given else None
        # What an exception says may quote an upstream: it stays out of the trace.
        return self._tracer.start_as_current_span(
            name, parent, kind, record_exception=False, set_status_on_exception=False
        )

    def headers(self) -> Mapping[str, str]:
        """Return what an upstream has to be sent to continue the trace that the running task is in."""
        if self._tracer is None:
            return _NONE
        headers: dict[str, str] = {}
        _PROPAGATOR.inject(headers)
        return headers

    def close(self) -> None:
        """Send what has not been sent. Blocks."""
        if self._provider is not None:
            self._provider.shutdown()


def fail(span: Span, why: str) -> None:
    """Note that the work of a span failed, and why in a word of our own."""
    span.set_attribute("error.type", why)
    span.set_status(StatusCode.ERROR)


def configured(environment: Mapping[str, str] | None = None) -> Tracing:
    """Trace if an OTLP endpoint is configured in OpenTelemetry's own variables, and the extra ``otel`` is installed.

    Args:
        environment: Where the variables are; the process's own environment if None.
    """
    found = os.environ if environment is None else environment
    is_disabled = found.get("OTEL_SDK_DISABLED", "").lower() == "true" or found.get("OTEL_TRACES_EXPORTER") == "none"
    if is_disabled or not any(found.get(name) for name in _ENDPOINTS):
        return Tracing()
    try:
        return Tracing(_exporting())
    except ImportError:
        _log.warning("traces_not_exported", missing="d1-gateway[otel]")
        return Tracing()


def _exporting() -> "TracerProvider":
    """Make a provider that exports by OTLP over HTTP, as the environment's ``OTEL_*`` variables say."""
    # The extra `otel`: it need not be there, and takes long to import.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    resource = Resource.create({SERVICE_NAME: "d1-gateway"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
