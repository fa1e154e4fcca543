"""What the meters around the upstreams count."""

import asyncio
import time
from contextlib import suppress

import pytest

from gateway.backfill.backfill import CardResult
from gateway.errors import GatewayError
from gateway.telemetry import loop_lag
from gateway.telemetry.instrumented import Upstreams, counting_cards
from gateway.telemetry.loop_lag import measuring_loop_lag
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Tracing
from issuer.common.v1 import error_pb2

SUSPEND = "POST /cards/{card_id}/operations:suspend"
UNKNOWN = GatewayError(error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE, "no answer")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"d1_gateway_{name}", labels)


@pytest.mark.parametrize(
    ("status", "failure", "result"),
    [
        (204, None, "2xx"),
        (429, None, "4xx"),
        (503, None, "5xx"),
        (None, UNKNOWN, "upstream_no_response"),
        (200, UNKNOWN, "upstream_no_response"),
        (None, asyncio.CancelledError(), "cancelled"),
    ],
)
def test_a_request_to_an_upstream_is_counted_by_its_answer_or_why_there_is_none(
    metrics: Metrics, status: int | None, failure: BaseException | None, result: str
) -> None:
    upstreams = Upstreams(metrics, Tracing())

    with suppress(GatewayError, asyncio.CancelledError), upstreams.exchange("d1", SUSPEND) as exchange:
        assert value(metrics, "upstream_requests_in_flight", upstream="d1") == 1
        assert exchange.headers == {}
        exchange.status = status
        if failure is not None:
            raise failure

    assert value(metrics, "upstream_requests_in_flight", upstream="d1") == 0
    assert value(metrics, "upstream_requests_total", upstream="d1", endpoint=SUSPEND, result=result) == 1
    assert value(metrics, "upstream_request_duration_seconds_count", upstream="d1", endpoint=SUSPEND) == 1


def test_each_circuit_of_an_upstream_is_in_one_state(metrics: Metrics) -> None:
    upstreams = Upstreams(metrics, Tracing())
    upstreams.circuit("d1", "closed")
    upstreams.circuit("d1", "open")
    upstreams.circuit("d1", "half_open", "ISSUER0002")
    upstreams.retried("d1", SUSPEND)

    states = {
        issuer_id: [
            state
            for state in ("closed", "half_open", "open")
            if value(metrics, "upstream_circuit", upstream="d1", issuer=issuer_id, state=state)
        ]
        for issuer_id in ("", "ISSUER0002")
    }
    assert states == {"": ["open"], "ISSUER0002": ["half_open"]}
    assert upstreams.circuits == {"d1": "open", "d1/ISSUER0002": "half_open"}
    assert value(metrics, "upstream_retries_total", upstream="d1", endpoint=SUSPEND) == 1


def test_two_gateways_in_a_process_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.callbacks.labels("deliver_otp", "answered").inc()

    assert value(one, "callbacks_total", kind="deliver_otp", outcome="answered") == 1
    assert value(other, "callbacks_total", kind="deliver_otp", outcome="answered") is None


def test_cards_of_a_backfill_are_counted_with_what_they_brought_and_those_that_failed_are_noted(
    metrics: Metrics,
) -> None:
    count = counting_cards(metrics)
    before = [value(metrics, "backfill_cards_total", outcome=outcome) for outcome in ("done", "failed")]
    count(CardResult(9, 3, 1, 0))
    count(CardResult(5, 2, 0, 0, UNKNOWN))

    assert before == [0, 0]
    assert value(metrics, "backfill_cards_total", outcome="done") == 1
    assert value(metrics, "backfill_cards_total", outcome="failed") == 1
    assert value(metrics, "backfill_recovered_total") == 5, "what a failed card brought counts, too"
    (failure,) = metrics.failures.latest(9)
    assert (failure.operation, failure.reason) == ("backfill", "UPSTREAM_NO_RESPONSE")


def test_the_queues_of_an_upstream_are_added_up(metrics: Metrics) -> None:
    upstreams, lengths = Upstreams(metrics, Tracing()), [2, 3]
    upstreams.queue("d1", lambda: lengths[0])
    upstreams.queue("d1", lambda: lengths[1])
    upstreams.queue("threeds", lambda: 7)
    lengths[1] = 4

    assert value(metrics, "upstream_requests_waiting", upstream="d1") == 6
    assert value(metrics, "upstream_requests_waiting", upstream="threeds") == 7


async def test_what_blocks_the_event_loop_is_measured_until_the_end(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_lag, "_INTERVAL_SECONDS", 0.05)

    def measured(what: str) -> float:
        return value(metrics, f"event_loop_lag_seconds_{what}") or 0.0

    with measuring_loop_lag(metrics):
        await asyncio.sleep(0.07)
        count, seconds = measured("count"), measured("sum")
        time.sleep(0.3)  # noqa: ASYNC251  what must not happen
        await asyncio.sleep(0.03)
        assert (count, measured("count")) == (1, 2)
        assert measured("sum") - seconds > 0.2
    await asyncio.sleep(0.1)

    assert measured("count") == 2
