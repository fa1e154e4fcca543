"""What is read off the gateway's state whenever its metrics are scraped."""

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

_MOST_SUBSCRIPTIONS: Final = 100
"""Subscribers name their subscriptions: no more series than this are made of that."""
_PREFIX: Final = "d1_gateway"
_log = structlog.get_logger(__name__)


class State:
    """A collector for a registry, to be refreshed before each scrape."""

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
        """Look at the parts of a gateway.

        Args:
            issuer_ids: The configured issuers.
            log: The event log.
            log_bytes: Tells how large its files are.
            broker: Knows the handlers.
            watchers: Knows the watchers.
            certificate_expiries: Tells when what is in use expires, in seconds since 1970 (UTC), by setting.
            lost_line_count: Tells how many lines of the process's log were lost.
        """
        self._issuer_ids = tuple(issuer_ids)
        self._log = log
        self._log_bytes = log_bytes
        self._broker = broker
        self._watchers = watchers
        self._certificate_expiries = certificate_expiries
        self._lost_line_count = lost_line_count
        self._of_log: tuple[Metric, ...] = ()

    async def refresh(self) -> None:
        """Read what takes a while to read. Where the event log cannot be read, its metrics are left out."""
        self._of_log = ()
        try:
            subscriptions = [
                each for issuer_id in self._issuer_ids for each in await self._log.list_subscriptions(issuer_id)
            ]
            bounds = await self._log.bounds()
            size = self._log_bytes()
        except (GatewayError, OSError) as error:
            _log.warning("event_log_not_measured", error=str(error))
            return
        self._of_log = (
            _gauge("event_log_last_sequence", "The sequence of the newest notification ever stored.", bounds.last),
            _gauge("event_log_trimmed_sequence", "Up to which retention has removed them.", bounds.trimmed_through),
            _gauge("event_log_size_bytes", "How much disk the event log takes.", size),
            _gauge("subscriptions", "Named subscriptions.", len(subscriptions)),
            _lags(subscriptions, bounds),
        )

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; see `prometheus_client.registry.Collector`."""
        yield from self._of_log
        handlers = GaugeMetricFamily(
            f"{_PREFIX}_handlers_connected", "Handlers that take questions of a kind.", labels=["kind"]
        )
        for kind, count in self._broker.handler_counts.items():
            handlers.add_metric([kind], count)
        yield handlers
        yield _gauge(
            "watchers_standing_by",
            "Watchers of a subscription that another one receives.",
            self._watchers.failover.standby,
        )
        yield _counter(
            "notifications_delivered",
            "Notifications handed to streams, once for each stream.",
            self._watchers.delivered_count,
        )
        yield _counter(
            "log_lines_lost",
            "Lines of the log that nobody read in time, or that could not be written.",
            self._lost_line_count(),
        )
        expiries = GaugeMetricFamily(
            f"{_PREFIX}_certificate_expiry_timestamp_seconds", "When a certificate in use expires.", labels=["setting"]
        )
        for setting, expiry in self._certificate_expiries().items():
            expiries.add_metric([setting], expiry)
        yield expiries


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_PREFIX}_{name}", text, value)


def _lags(subscriptions: Iterable[StoredSubscription], bounds: LogBounds) -> Metric:
    """Tell how far behind subscriptions are: of very many, those that are furthest."""
    family = GaugeMetricFamily(
        f"{_PREFIX}_subscription_lag",
        "Notifications that a subscription has not committed.",
        labels=["issuer", "subscription"],
    )
    lags = sorted(((bounds.lag(each.committed), each) for each in subscriptions), key=lambda pair: -pair[0])
    for lag, subscription in lags[:_MOST_SUBSCRIPTIONS]:
        family.add_metric([subscription.issuer_id, subscription.name], lag)
    return family
