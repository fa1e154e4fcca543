"""A trace spans a caller, the gateway and D1, and arrives at a collector."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from issuer.card.v1 import messages_pb2 as card
from sandbox import Sandbox
from tests.integration.telemetry.operator_view import NOTIFICATION_ROUTE, OperatorView
from tests.running import edge_session, running_gateway, settings_for

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"
SUSPEND = "issuer.card.v1.CardService/SuspendCard"


@pytest.fixture
async def collected(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Span]]:
    """The traces that a collector receives at the address of OpenTelemetry's own variable."""
    spans: list[Span] = []

    async def collect(request: web.Request) -> web.Response:
        received = ExportTraceServiceRequest.FromString(await request.read())
        spans.extend(span for each in received.resource_spans for scope in each.scope_spans for span in scope.spans)
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", collect)
    async with TestServer(app) as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", str(server.make_url("")).rstrip("/"))
        yield spans


async def test_spans_lead_from_a_call_to_d1_and_from_a_callback_to_the_log(
    sandbox: Sandbox, tmp_path: Path, collected: list[Span]
) -> None:
    async with (
        running_gateway(sandbox, settings_for(sandbox, tmp_path)) as running,
        edge_session(sandbox) as session,
    ):
        request = card.SuspendCardRequest(card_id="card-4711", reason_code="FRAUD")
        with pytest.raises(grpc.aio.AioRpcError):
            await running.cards.SuspendCard(request, metadata=(("traceparent", CALLER),))
        assert await OperatorView(running, session).notify("op-4711", "card-4711") == 204

    by_name = {span.name: span for span in collected}
    rpc = by_name[SUSPEND]
    upstream = by_name["d1 POST /banking/v2/issuers/{issuer_id}/cards/{card_id}/operations:suspend"]
    callback, append = by_name[f"POST {NOTIFICATION_ROUTE}"], by_name["event log append"]
    assert rpc.trace_id.hex() == upstream.trace_id.hex() == TRACE
    assert upstream.parent_span_id == rpc.span_id
    assert append.parent_span_id == callback.span_id
    assert "4711" not in str(collected)
