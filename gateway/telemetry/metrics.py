"""The gateway's Prometheus metrics. No label ever holds an id or a text that a caller chose."""

import platform
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final, Self

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from gateway.telemetry.failures import Failures
from gateway.version import COMMIT, VERSION

__all__ = ["InProgress", "Metrics", "by_outcome"]

_PREFIX: Final = "d1_gateway"
# A call that includes an upstream: from a rejection by the gateway itself to the longest time-out.
_CALL_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# A callback: a notification that ends at the disk, or a callback request that waits for its handler.
_EDGE_SECONDS: Final = (0.001, 0.0025, *_CALL_SECONDS)
# Timers of the event loop have a resolution of a millisecond.
_LAG_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# Work that ends at the local disk.
_DISK_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class InProgress:
    """Counts work in progress for a gauge that reads the count when scraped, so that neither takes a lock."""

    __slots__ = ("count",)

    def __init__(self, gauge: Gauge) -> None:
        """Attach to a gauge."""
        self.count = 0
        gauge.set_function(lambda: self.count)

    @classmethod
    def by_label(cls, gauge: Gauge) -> Callable[[str], Self]:
        """Return a function that finds or creates the counter of a label value."""
        return cache(lambda label: cls(gauge.labels(label)))


def by_outcome(counter: Counter, outcomes: Iterable[str]) -> Callable[[str], None]:
    """Return a function that counts an outcome, for a counter with that label alone.

    Each of the outcomes has a series from the start, because Prometheus sees no increase when a new series begins at 1.
    """
    # Looking up a series by its labels takes longer than counting.
    series = cache(counter.labels)
    for outcome in outcomes:
        series(outcome)
    return lambda outcome: series(outcome).inc()


class Metrics:
    """Metrics that are counted as the gateway works; those read from its state: `gateway.telemetry.collectors`."""

    def __init__(self) -> None:
        """Create the metrics in a new registry, with the process metrics."""
        # Creation times double the number of series, and `process_start_time_seconds` has the information already.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        """The registry to scrape."""
        ProcessCollector(registry=self.registry)
        self.build_info = self._gauge("build_info", "Always 1.", "version", "commit", "python")
        self.build_info.labels(VERSION, COMMIT, platform.python_version()).set(1)
        self.failures = Failures()
        """The latest failures. They are no metric: correlation ids would make a series of each."""
        self.loop_lag_seconds = self._histogram(
            "event_loop_lag", "How late the event loop ran a timer, measured once a second.", _LAG_SECONDS
        )
        self._add_rpcs()
        self._add_upstreams()
        self._add_edge()
        self._add_callbacks()
        self._add_event_log()
        self._add_backfill()

    def _add_rpcs(self) -> None:
        self.rpcs = self._counter("rpcs", "Completed rpcs by status code.", "rpc", "code")
        self.rpc_failures = self._counter(
            "rpc_failures",
            "Failed rpcs by reason, and by whether the upstream may have acted.",
            *("rpc", "reason", "outcome"),
        )
        self.rpc_seconds = self._histogram("rpc_duration", "Duration of unary rpcs.", _CALL_SECONDS, "rpc")
        self.rpcs_in_flight = self._gauge("rpcs_in_flight", "Unary rpcs in progress.", "rpc")
        self.streams_open = self._gauge("streams_open", "Streaming rpcs in progress.", "rpc")
        self.idempotent_requests = self._counter(
            "idempotent_requests", "Ended requests with a request id by outcome.", "outcome"
        )
        self.detached_calls = self._counter(
            "detached_calls", "Changes that ended after their callers had left, by outcome.", "outcome"
        )

    def _add_upstreams(self) -> None:
        self.upstream_requests = self._counter(
            "upstream_requests",
            "Completed requests to an upstream by class of response status or reason for its absence.",
            *("upstream", "endpoint", "result"),
        )
        self.upstream_seconds = self._histogram(
            "upstream_request_duration", "Duration of requests to an upstream.", _CALL_SECONDS, "upstream", "endpoint"
        )
        self.upstream_in_flight = self._gauge(
            "upstream_requests_in_flight", "Requests to an upstream in progress.", "upstream"
        )
        self.upstream_waiting = self._gauge(
            "upstream_requests_waiting", "Requests to an upstream that wait for a connection.", "upstream"
        )
        self.upstream_retries = self._counter(
            "upstream_retries", "Requests to an upstream that were retries.", "upstream", "endpoint"
        )
        self.upstream_circuit = self._gauge(
            "upstream_circuit",
            "1 for the current state of a circuit breaker of an upstream.",
            *("upstream", "issuer", "state"),
        )
        self.upstream_misfits = self._counter(
            "upstream_misfits",
            "Fields that an upstream sent in another form than documented, or left out.",
            *("upstream", "message", "field"),
        )

    def _add_edge(self) -> None:
        self.edge_requests = self._counter("edge_requests", "Completed edge requests.", "route", "method", "status")
        self.edge_seconds = self._histogram(
            "edge_request_duration", "Duration of edge requests.", _EDGE_SECONDS, "route", "status"
        )
        self.edge_connections = self._gauge("edge_connections", "Open edge connections of known clients.")
        self.edge_handshakes = self._gauge("edge_handshakes", "Open edge connections whose client is not known yet.")
        self.edge_connections_refused = self._counter(
            "edge_connections_refused", "Edge connections turned away by reason.", "reason"
        )

    def _add_callbacks(self) -> None:
        self.callbacks = self._counter("callbacks", "Completed callbacks by outcome.", "kind", "outcome")
        self.callback_seconds = self._histogram(
            "callback_duration", "Time that callback requests waited for a reply.", _CALL_SECONDS, "kind", "outcome"
        )
        self.callback_replies = self._counter("callback_replies", "Handlers' replies by outcome.", "outcome")
        self.callbacks_open = self._gauge("callbacks_open", "Callback requests waiting for a reply.", "kind")

    def _add_event_log(self) -> None:
        self.appends = self._counter(
            "event_log_appends", "Notifications appended to the event log by outcome.", "outcome"
        )
        self.append_seconds = self._histogram(
            "event_log_append_duration", "Duration of appends, failed ones included.", _DISK_SECONDS
        )
        for outcome in ("stored", "duplicate", "failed"):
            self.appends.labels(outcome)

    def _add_backfill(self) -> None:
        self.backfill_cards = self._counter(
            "backfill_cards", "Cards whose history a backfill has read, or could not read, by outcome.", "outcome"
        )
        self.backfill_recovered = self._counter(
            "backfill_recovered", "Notifications that backfills appended to the event log."
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}_seconds", text, labels, registry=self.registry, buckets=buckets)
