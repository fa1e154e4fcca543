"""Wrappers that measure parts of the gateway behind the same interface."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from time import perf_counter
from typing import Final

from opentelemetry.trace import SpanKind

from gateway.backfill.backfill import CardResult
from gateway.callbacks.model import KINDS
from gateway.errors import GatewayError
from gateway.ports import Appendable, Attempts, CallbackBus, CallbackOutcome, Event, NoReply, outcome_of
from gateway.ports.meter import CircuitState, Exchange
from gateway.telemetry.metrics import InProgress, Metrics, by_outcome
from gateway.telemetry.tracing import Tracing, fail
from issuer.callback.v1 import messages_pb2 as callback
from issuer.common.v1 import error_pb2

__all__ = ["InstrumentedBus", "InstrumentedLog", "Upstreams", "counting_cards"]

_STATES: Final[tuple[CircuitState, ...]] = ("closed", "half_open", "open")
_UNANSWERED: Final = frozenset({CallbackOutcome.FALLBACK, CallbackOutcome.NO_HANDLER, CallbackOutcome.EXHAUSTED})


class InstrumentedLog:
    """A `gateway.ports.Appendable` that counts and times the appends to another one."""

    def __init__(self, log: Appendable, metrics: Metrics, tracing: Tracing) -> None:
        self._log = log
        self._tracing = tracing
        self._seconds = metrics.append_seconds
        self._stored = metrics.appends.labels("stored")
        self._duplicate = metrics.appends.labels("duplicate")
        self._failed = metrics.appends.labels("failed")

    async def append(self, event: Event) -> bool:
        """See `gateway.ports.Appendable`."""
        started = perf_counter()
        with self._tracing.span("event log append", SpanKind.INTERNAL) as span:
            try:
                is_new = await self._log.append(event)
            except GatewayError as error:
                self._failed.inc()
                self._seconds.observe(perf_counter() - started)
                fail(span, error.reason_name.lower())
                raise
        (self._stored if is_new else self._duplicate).inc()
        self._seconds.observe(perf_counter() - started)
        return is_new


class InstrumentedBus:
    """A `gateway.ports.CallbackBus` that counts and times the callbacks of another one."""

    def __init__(self, bus: CallbackBus, metrics: Metrics, tracing: Tracing) -> None:
        self._bus = bus
        self._tracing = tracing
        # Looking up a series by its labels takes longer than counting.
        self._open = InProgress.by_label(metrics.callbacks_open)
        self._seconds = cache(metrics.callback_seconds.labels)
        self._ended = cache(metrics.callbacks.labels)
        for kind, outcome in product(KINDS, CallbackOutcome):
            # Prometheus sees no increase when a new series begins at 1.
            self._ended(kind, outcome.value)
        self._failures = metrics.failures

    async def ask(
        self,
        request: callback.CallbackRequest,
        seconds: float,
        *,
        attempts: Attempts = Attempts(),
        wait_for_handler: bool = True,
    ) -> callback.CallbackReply | NoReply:
        """See `gateway.ports.CallbackBus`."""
        kind = request.WhichOneof("request") or "unknown"
        started = perf_counter()
        open_now = self._open(kind)
        open_now.count += 1
        # Whatever ends this before there is an outcome, nobody waits any more.
        outcome = CallbackOutcome.WITHDRAWN
        with self._tracing.span(kind, SpanKind.INTERNAL) as span:
            try:
                reply = await self._bus.ask(request, seconds, attempts=attempts, wait_for_handler=wait_for_handler)
                outcome = outcome_of(reply)
                return reply
            finally:
                open_now.count -= 1
                self._seconds(kind, outcome.value).observe(perf_counter() - started)
                self._ended(kind, outcome.value).inc()
                # A poll for a result may well go unanswered: there may be none yet, or no handler for it at all.
                if outcome in _UNANSWERED and (wait_for_handler or outcome is CallbackOutcome.EXHAUSTED):
                    self._failures.note(kind, outcome.name)
                span.set_attribute("d1_gateway.outcome", outcome.value)


def counting_cards(metrics: Metrics) -> Callable[[CardResult], None]:
    """Return what counts each card of a backfill, and notes those that failed."""
    count = by_outcome(metrics.backfill_cards, ("done", "unknown", "failed"))

    def ended(result: CardResult) -> None:
        # Deleted lately, or misspelt in an order: nothing to be done about at the gateway.
        is_unknown = result.error is not None and result.error.reason == error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND
        count("unknown" if is_unknown else "failed" if result.error else "done")
        metrics.backfill_recovered.inc(result.recovered_count)
        if result.error and not is_unknown:
            metrics.failures.note("backfill", result.error.reason_name, result.error.outcome_name)

    return ended


class Upstreams:
    """The `gateway.ports.meter.UpstreamMeter` of a running gateway."""

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self._metrics = metrics
        self._in_flight = InProgress.by_label(metrics.upstream_in_flight)
        self._seconds = cache(metrics.upstream_seconds.labels)
        self._ended = cache(metrics.upstream_requests.labels)
        self._tracing = tracing
        self._circuits: dict[str, CircuitState] = {}
        self._queues: defaultdict[str, list[Callable[[], int]]] = defaultdict(list)

    @property
    def circuits(self) -> dict[str, CircuitState]:
        """State of each circuit breaker, by the upstream's name, and the id of an issuer with its own: ``d1/<id>``."""
        return dict(self._circuits)

    @contextmanager
    def exchange(self, upstream: str, endpoint: str) -> Iterator[Exchange]:
        """See `gateway.ports.meter.UpstreamMeter`."""
        result = "cancelled"
        started = perf_counter()
        in_flight = self._in_flight(upstream)
        in_flight.count += 1
        with self._tracing.span(f"{upstream} {endpoint}", SpanKind.CLIENT) as span:
            exchange = Exchange(self._tracing.headers())
            try:
                yield exchange
                result = "none" if exchange.status is None else f"{exchange.status // 100}xx"
            except GatewayError as error:
                result = error.reason_name.lower()
                fail(span, result)
                raise
            finally:
                in_flight.count -= 1
                if exchange.status is not None:
                    span.set_attribute("http.response.status_code", exchange.status)
                self._seconds(upstream, endpoint).observe(perf_counter() - started)
                self._ended(upstream, endpoint, result).inc()

    def retried(self, upstream: str, endpoint: str) -> None:
        """See `gateway.ports.meter.UpstreamMeter`."""
        self._metrics.upstream_retries.labels(upstream, endpoint).inc()

    def circuit(self, upstream: str, state: CircuitState, issuer_id: str = "") -> None:
        """See `gateway.ports.meter.UpstreamMeter`."""
        self._circuits[f"{upstream}/{issuer_id}" if issuer_id else upstream] = state
        for each in _STATES:
            self._metrics.upstream_circuit.labels(upstream, issuer_id, each).set(each == state)

    def queue(self, upstream: str, length: Callable[[], int]) -> None:
        """See `gateway.ports.meter.UpstreamMeter`."""
        queues = self._queues[upstream]
        queues.append(length)
        self._metrics.upstream_waiting.labels(upstream).set_function(lambda: sum(each() for each in queues))

    def misfit(self, upstream: str, message: str, field: str) -> None:
        """See `gateway.ports.meter.UpstreamMeter`."""
        self._metrics.upstream_misfits.labels(upstream, message, field).inc()
