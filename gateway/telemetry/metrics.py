"""The gateway's Prometheus metrics. No label ever holds an id, or a word that a caller chose."""

from collections.abc import Callable
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

__all__ = ["InProgress", "Metrics"]

_PREFIX: Final = "d1_gateway"
# A call that goes through to an upstream: from a local refusal to D1's own patience.
_CALL_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# What ends at our own disk.
_DISK_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class InProgress:
    """How much of something goes on: counted here and read when it is asked for, which takes no lock for either."""

    __slots__ = ("count",)

    def __init__(self, gauge: Gauge) -> None:
        """Be what a gauge shows."""
        self.count = 0
        gauge.set_function(lambda: self.count)

    @classmethod
    def by_label(cls, gauge: Gauge) -> Callable[[str], Self]:
        """Return what finds the one of each label, and makes it where there is none."""
        return cache(lambda label: cls(gauge.labels(label)))


class Metrics:
    """What is counted while the gateway works. What is read off its state stands at `gateway.telemetry.collectors`."""

    def __init__(self) -> None:
        """Make a registry of its own, with what the process says of itself."""
        # A time of birth beside each counter doubles the series and tells what `process_start_time_seconds` tells.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        """What is scraped."""
        ProcessCollector(registry=self.registry)

        self.rpcs = self._counter("rpcs", "Rpcs that ended, by the status they ended with.", "rpc", "code")
        self.rpc_seconds = self._histogram("rpc_duration", "How long rpcs without streams took.", _CALL_SECONDS, "rpc")
        self.rpcs_in_flight = self._gauge("rpcs_in_flight", "Rpcs without streams that run now.", "rpc")
        self.streams_open = self._gauge("streams_open", "Rpcs with streams that run now.", "rpc")

        self.upstream_requests = self._counter(
            "upstream_requests",
            "Requests to an upstream that ended, by the class of the answer's status or by why there was none.",
            *("upstream", "endpoint", "result"),
        )
        self.upstream_seconds = self._histogram(
            "upstream_request_duration", "How long they took.", _CALL_SECONDS, "upstream", "endpoint"
        )
        self.upstream_in_flight = self._gauge(
            "upstream_requests_in_flight", "Requests to an upstream that wait for their answer now.", "upstream"
        )
        self.upstream_retries = self._counter(
            "upstream_retries", "Requests to an upstream that were repeats.", "upstream", "endpoint"
        )
        self.upstream_circuit = self._gauge(
            "upstream_circuit", "1 for the state that an upstream's circuit breaker is in.", "upstream", "state"
        )

        self.edge_requests = self._counter(
            "edge_requests", "Requests of D1 that were answered.", "route", "method", "status"
        )
        self.edge_seconds = self._histogram("edge_request_duration", "How long that took.", _CALL_SECONDS, "route")

        self.questions = self._counter("questions", "Questions of D1 that ended, by how.", "kind", "outcome")
        self.question_seconds = self._histogram(
            "question_duration", "How long D1's questions waited for their reply.", _CALL_SECONDS, "kind"
        )
        self.questions_open = self._gauge("questions_open", "Questions that wait for a reply now.", "kind")

        self.appends = self._counter(
            "event_log_appends", "Notifications handed to the event log, by what came of it.", "outcome"
        )
        self.append_seconds = self._histogram(
            "event_log_append_duration", "How long they took to be on disk, failures included.", _DISK_SECONDS
        )
        for outcome in ("stored", "duplicate", "failed"):
            self.appends.labels(outcome)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}_seconds", text, labels, registry=self.registry, buckets=buckets)
