"""What the meters around the log, the bus and the upstreams count."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.telemetry.instrumented import InstrumentedBus, InstrumentedLog, Upstreams
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.tracing import Tracing
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import questions_pb2, replies_pb2
from issuer.common.v1 import error_pb2
from tests.fakes import FakeEventLog, an_event

SUSPEND = "POST /cards/{card_id}/operations:suspend"
REQUEST = callback.Question(consumer_information=questions_pb2.ConsumerInformationRequest(consumer_id="consumer-1"))


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"d1_gateway_{name}", labels)


async def test_an_append_is_counted_by_what_came_of_it(metrics: Metrics) -> None:
    held = FakeEventLog()
    log = InstrumentedLog(held, metrics, Tracing())

    assert [await log.append(an_event(number)) for number in (1, 2, 2)] == [True, True, False]
    held.fail()
    with pytest.raises(GatewayError):
        await log.append(an_event(3))

    counted = {
        outcome: value(metrics, "event_log_appends_total", outcome=outcome)
        for outcome in ("stored", "duplicate", "failed")
    }
    assert counted == {"stored": 2, "duplicate": 1, "failed": 1}
    assert value(metrics, "event_log_append_duration_seconds_count") == 4


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (callback.Reply(consumer_information=replies_pb2.ConsumerInformationResponse()), "replied"),
        (callback.Reply(refusal=replies_pb2.Refusal()), "refused"),
        (None, "unanswered"),
    ],
)
async def test_a_callback_is_counted_by_its_outcome(
    metrics: Metrics, reply: callback.Reply | None, outcome: str
) -> None:
    open_while_pending = []

    async def ask(*_: Any, **__: Any) -> callback.Reply | None:
        open_while_pending.append(value(metrics, "callbacks_open", kind="consumer_information"))
        return reply

    received = await InstrumentedBus(SimpleNamespace(ask=ask), metrics, Tracing()).ask(REQUEST, 1.0)

    assert received is reply
    assert open_while_pending == [1]
    assert value(metrics, "callbacks_open", kind="consumer_information") == 0
    assert value(metrics, "callbacks_total", kind="consumer_information", outcome=outcome) == 1
    assert value(metrics, "callback_duration_seconds_count", kind="consumer_information") == 1


def outcome_unknown() -> GatewayError:
    return GatewayError(error_pb2.ERROR_REASON_UPSTREAM_NO_ANSWER, "no answer")


@pytest.mark.parametrize(
    ("status", "failure", "result"),
    [
        (204, None, "2xx"),
        (429, None, "4xx"),
        (503, None, "5xx"),
        (None, outcome_unknown(), "upstream_no_answer"),
        (200, outcome_unknown(), "upstream_no_answer"),
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


def test_the_circuit_of_an_upstream_is_in_one_state(metrics: Metrics) -> None:
    upstreams = Upstreams(metrics, Tracing())
    upstreams.circuit("d1", "closed")
    upstreams.circuit("d1", "open")
    upstreams.retried("d1", SUSPEND)

    states = {
        state: value(metrics, "upstream_circuit", upstream="d1", state=state)
        for state in ("closed", "half_open", "open")
    }
    assert states == {"closed": 0, "half_open": 0, "open": 1}
    assert upstreams.circuits == {"d1": "open"}
    assert value(metrics, "upstream_retries_total", upstream="d1", endpoint=SUSPEND) == 1


def test_two_gateways_in_a_process_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.callbacks.labels("deliver_otp", "replied").inc()

    assert value(one, "callbacks_total", kind="deliver_otp", outcome="replied") == 1
    assert value(other, "callbacks_total", kind="deliver_otp", outcome="replied") is None
