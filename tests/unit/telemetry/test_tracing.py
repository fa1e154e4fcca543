"""Spans, and the trace context that goes through."""

import sys
from contextlib import suppress

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from gateway.telemetry.tracing import Tracing, configured, fail

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01")


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider)


def test_a_callers_trace_goes_on_to_the_upstream_without_its_baggage(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    carrier: list[tuple[str, str | bytes]] = [
        ("Traceparent", CALLER[1]),
        ("baggage", "pan=4111111111111111"),
        ("other-bin", b"\x00"),
    ]
    with tracing.span("rpc", SpanKind.SERVER, carrier), tracing.span("d1 POST /cards", SpanKind.CLIENT):
        sent = tracing.headers()

    client, server = exporter.get_finished_spans()
    assert server.context is not None
    assert client.context is not None
    assert client.parent is not None
    assert server.parent is not None
    assert sent == {"traceparent": f"00-{TRACE}-{client.context.span_id:016x}-01"}
    assert f"{server.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == "b7ad6b7169203331"
    assert client.parent.span_id == server.context.span_id
    assert (server.kind, client.kind) == (SpanKind.SERVER, SpanKind.CLIENT)


@pytest.mark.parametrize("given", ["", "garbage", f"00-{'0' * 32}-b7ad6b7169203331-01"])
def test_a_trace_context_that_is_none_begins_a_new_trace(
    tracing: Tracing, exporter: InMemorySpanExporter, given: str
) -> None:
    with tracing.span("rpc", SpanKind.SERVER, [("traceparent", given)]):
        pass

    (span,) = exporter.get_finished_spans()
    assert span.parent is None


def test_a_failure_is_told_in_our_own_word_and_the_exceptions_text_is_not(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    with suppress(ValueError), tracing.span("rpc", SpanKind.SERVER) as span:
        fail(span, "upstream_invalid")
        raise ValueError("4111 1111 1111 1111")

    (told,) = exporter.get_finished_spans()
    assert told.status.status_code is StatusCode.ERROR
    assert dict(told.attributes or {}) == {"error.type": "upstream_invalid"}
    assert "4111" not in told.to_json()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_nothing_is_traced(environment: dict[str, str]) -> None:
    assert_untraced(configured(environment))


def test_without_the_extra_nothing_is_traced_and_the_log_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with capture_logs() as logged:
        tracing = configured({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})

    assert_untraced(tracing)
    assert [(line["event"], line["missing"]) for line in logged] == [("traces_not_exported", "d1-gateway[otel]")]


def test_the_endpoint_may_be_that_of_traces_alone() -> None:
    # The caller's trace is not sampled: nothing is exported, for nobody is there.
    tracing = configured({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"})

    with tracing.span("rpc", SpanKind.SERVER, [("traceparent", f"00-{TRACE}-b7ad6b7169203331-00")]):
        assert TRACE in tracing.headers()["traceparent"]
    tracing.close()


def assert_untraced(tracing: Tracing) -> None:
    with tracing.span("rpc", SpanKind.SERVER, [CALLER]) as span:
        assert not span.is_recording()
        assert tracing.headers() == {}
    tracing.close()
