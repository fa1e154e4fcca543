"""Traces with OpenTelemetry. Needs the extra ``otel``; nothing else imports it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.telemetry.tracing import Carrier, Kind, Span

__all__ = ["OtelTracing", "exporting"]

_KINDS: Final = {
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "internal": trace.SpanKind.INTERNAL,
}
_CONTEXT: Final = frozenset({"traceparent", "tracestate"})


class _Span:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, name: str, value: str | int) -> None:
        """See `gateway.telemetry.tracing.Span`."""
        self._span.set_attribute(name, value)

    def fail(self, why: str) -> None:
        """See `gateway.telemetry.tracing.Span`."""
        self._span.set_attribute("error.type", why)
        self._span.set_status(trace.StatusCode.ERROR)


class OtelTracing:
    """See `gateway.telemetry.tracing.Tracing`."""

    def __init__(self, provider: TracerProvider) -> None:
        """Make spans with a provider, which is closed with this."""
        self._provider = provider
        self._tracer = provider.get_tracer("d1-gateway")
        # Nothing but the trace context: baggage may hold whatever a caller likes.
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, kind: Kind, carrier: Carrier = ()) -> Iterator[Span]:
        """See `gateway.telemetry.tracing.Tracing`."""
        given = {key.lower(): value for key, value in carrier if key.lower() in _CONTEXT and isinstance(value, str)}
        parent = self._propagator.extract(given) if given else None
        # What an exception says may quote an upstream: it stays out of the trace.
        with self._tracer.start_as_current_span(
            name, parent, _KINDS[kind], record_exception=False, set_status_on_exception=False
        ) as span:
            yield _Span(span)

    def headers(self) -> Mapping[str, str]:
        """See `gateway.telemetry.tracing.Tracing`."""
        headers: dict[str, str] = {}
        self._propagator.inject(headers)
        return headers

    def close(self) -> None:
        """See `gateway.telemetry.tracing.Tracing`."""
        self._provider.shutdown()


def exporting() -> TracerProvider:
    """Make a provider that exports by OTLP over HTTP, as the environment's ``OTEL_*`` variables say."""
    resource = Resource.create({SERVICE_NAME: "d1-gateway"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
