"""Metrics that are read from the gateway's state at each scrape."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import structlog
from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from gateway.callbacks.broker import Broker
from gateway.errors import GatewayError
from gateway.notifications.watch import Watchers
from gateway.ports import EventLog, LogBounds, StoredSubscription

__all__ = ["State"]

_MAX_SUBSCRIPTIONS: Final = 100
"""Limits the number of series, because subscribers choose the names of subscriptions."""
_PREFIX: Final = "d1_gateway"
_log = structlog.get_logger(__name__)


class State:
    """A Prometheus collector, to be refreshed before each scrape."""

    def __init__(
        self,
        *,
        issuer_ids: Iterable[str],
        log: EventLog,
        log_bytes: Callable[[], int],
        broker: Broker,
        watchers: Watchers,
        certificate_expiries: Callable[[], Mapping[str, float]],
        lost_line_count: Callable[[], int],
    ) -> None:
        self._issuer_ids = tuple(issuer_ids)
        self._log = log
        self._log_bytes = log_bytes
        self._broker = broker
        self._watchers = watchers
        self._certificate_expiries = certificate_expiries
        self._lost_line_count = lost_line_count
        self._log_metrics: tuple[Metric, ...] = ()

    async def refresh(self) -> None:
        """Read the event log's metrics; they are left out if it cannot be read."""
        self._log_metrics = ()
        try:
            subscriptions = [
                each for issuer_id in self._issuer_ids for each in await self._log.list_subscriptions(issuer_id)
            ]
            bounds = await self._log.bounds()
            size = self._log_bytes()
        except (GatewayError, OSError) as error:
            _log.warning("event_log_not_measured", error=str(error))
            return
        self._log_metrics = (
            _gauge("event_log_last_sequence", "Sequence of the newest notification ever stored.", bounds.last),
            _gauge("event_log_trimmed_sequence", "Last sequence removed by retention.", bounds.trimmed_through),
            _gauge("event_log_size_bytes", "Disk space used by the event log.", size),
            _gauge("subscriptions", "Named subscriptions.", len(subscriptions)),
            _lags(subscriptions, bounds),
        )

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; see `prometheus_client.registry.Collector`."""
        yield from self._log_metrics
        handlers = GaugeMetricFamily(
            f"{_PREFIX}_handlers_connected", "Connected handlers by kind of callback.", labels=["kind"]
        )
        for kind, count in self._broker.handler_counts.items():
            handlers.add_metric([kind], count)
        yield handlers
        yield _gauge(
            "event_log_damage", "What was found damaged in the event log since the start.", len(self._log.damage)
        )
        yield _gauge(
            "watchers_standing_by",
            "Watchers that wait to take over a subscription.",
            self._watchers.failover.standby,
        )
        yield _counter(
            "notifications_delivered",
            "Notifications written to streams, counted for each stream.",
            self._watchers.delivered_count,
        )
        yield _counter(
            "log_lines_lost",
            "Log lines that were not read in time or could not be written.",
            self._lost_line_count(),
        )
        expiries = GaugeMetricFamily(
            f"{_PREFIX}_certificate_expiry_timestamp_seconds", "Expiry of a certificate in use.", labels=["setting"]
        )
        for setting, expiry in self._certificate_expiries().items():
            expiries.add_metric([setting], expiry)
        yield expiries


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_PREFIX}_{name}", text, value)


def _lags(subscriptions: Iterable[StoredSubscription], bounds: LogBounds) -> Metric:
    """Measure how far subscriptions lag behind; beyond the limit, only those that lag most."""
    family = GaugeMetricFamily(
        f"{_PREFIX}_subscription_lag",
        "Notifications not yet committed by a subscription.",
        labels=["issuer", "subscription"],
    )
    lags = sorted(((bounds.lag(each.committed), each) for each in subscriptions), key=lambda pair: -pair[0])
    for lag, subscription in lags[:_MAX_SUBSCRIPTIONS]:
        family.add_metric([subscription.issuer_id, subscription.name], lag)
    return family
