"""One log line for each rpc and each callback, with what operators need and no secrets.

Those of refused callbacks are in tests/integration/edge/test_edge_errors.py.
"""

from collections.abc import Iterator, MutableMapping
from time import monotonic
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from issuer.card.v1 import messages_pb2 as card
from sandbox.common.pki import CALLER
from tests.integration.telemetry.operator_view import NOTIFICATION_ROUTE, OperatorView
from tests.running import code_of

Line = MutableMapping[str, Any]


@pytest.fixture
def logged(view: OperatorView) -> Iterator[list[Line]]:
    """Return the log entries after the start of the gateway."""
    del view
    with capture_logs() as lines:
        yield lines


def the_line(lines: list[Line]) -> Line:
    (line,) = lines
    assert line.pop("duration_ms") >= 0
    return line


async def test_unknown_rpcs_have_at_most_one_line_a_second(view: OperatorView, logged: list[Line]) -> None:
    began, called = monotonic(), 0
    while len(logged) < 2:
        call: Any = view.running.channel.unary_unary(f"/no.Service/{called}")
        assert await code_of(call(b"", timeout=10)) is grpc.StatusCode.UNIMPLEMENTED
        called += 1
    assert monotonic() - began >= 1

    first, second = logged
    caller = {"event": "rpc_unknown", "log_level": "warning", "caller": CALLER}
    assert first == {**caller, "rpc": "/no.Service/0", "suppressed": 0}
    assert second == {**caller, "rpc": second["rpc"], "suppressed": called - 2}


async def test_a_failed_rpc_has_one_line(view: OperatorView, logged: list[Line]) -> None:
    request = card.SuspendCardRequest(card_id="card-unknown", reason_code="FRAUD")
    with pytest.raises(grpc.aio.AioRpcError):
        await view.running.cards.SuspendCard(request)

    assert the_line(logged) == {
        "event": "rpc_failed",
        "log_level": "warning",
        "rpc": "/issuer.card.v1.CardService/SuspendCard",
        "issuer_id": "SANDBOX001",
        "code": "NOT_FOUND",
        "reason": "UPSTREAM_NOT_FOUND",
        "outcome": "REJECTED",
        "upstream": "d1",
        "upstream_status": "404",
        "upstream_code": "NOT_FOUND",
    }


async def test_an_issuer_that_is_not_ours_is_not_named(view: OperatorView, logged: list[Line]) -> None:
    request = card.SuspendCardRequest(issuer_id="4111111111", card_id="card-1", reason_code="FRAUD")
    with pytest.raises(grpc.aio.AioRpcError):
        await view.running.cards.SuspendCard(request)

    assert "4111111111" not in str(logged)
    assert the_line(logged)["reason"] == "ISSUER_UNKNOWN"


async def test_a_health_check_has_a_line_at_debug_only(view: OperatorView, logged: list[Line]) -> None:
    check: grpc.aio.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, bytes] = view.running.channel.unary_unary(
        "/grpc.health.v1.Health/Check", request_serializer=health_pb2.HealthCheckRequest.SerializeToString
    )
    await check(health_pb2.HealthCheckRequest())

    assert the_line(logged) == {
        "event": "rpc_completed",
        "log_level": "debug",
        "rpc": "/grpc.health.v1.Health/Check",
        "code": "OK",
    }


async def test_a_notification_that_is_taken_has_a_line_at_debug_only(view: OperatorView, logged: list[Line]) -> None:
    await view.notify("op-4711", "card-4711")

    assert the_line(logged) == {
        "event": "callback_completed",
        "log_level": "debug",
        "callback": NOTIFICATION_ROUTE,
        "method": "POST",
        "status": 204,
        "issuer_id": "SANDBOX001",
    }
