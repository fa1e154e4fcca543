"""Metrics that are read from the gateway's state at each scrape."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import structlog
from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from gateway.audit.trail import Trail
from gateway.backfill.state import BackfillState
from gateway.callbacks.broker import Broker
from gateway.callbacks.model import Membership
from gateway.errors import GatewayError
from gateway.notifications.watch import Watchers
from gateway.ports import EventDamagedError, EventLog, LogBounds, Storage, StoredSubscription
from gateway.telemetry.readiness import OK, Readiness

__all__ = ["State", "receive_time_after"]

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
        storage: Storage,
        readiness: Readiness,
        broker: Broker,
        membership: Membership | None,
        watchers: Watchers,
        certificate_expiries: Callable[[], Mapping[str, float]],
        lost_line_count: Callable[[], int],
        backfill: BackfillState,
        audit: Trail | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer_ids = tuple(issuer_ids)
        self._storage = storage
        self._readiness = readiness
        self._broker = broker
        self._membership = membership
        self._watchers = watchers
        self._certificate_expiries = certificate_expiries
        self._lost_line_count = lost_line_count
        self._backfill = backfill
        self._clock = clock
        self._checks: Mapping[str, str] = {}
        self._log_metrics: Sequence[Metric] = ()
        self._audit = audit

    async def refresh(self) -> None:
        """Check readiness, and read the event log's metrics; they are left out if it cannot be read."""
        self._checks = (await self._readiness.report()).checks
        try:
            self._log_metrics = await self._read_log()
        except (GatewayError, OSError) as error:
            self._log_metrics = ()
            _log.warning("event_log_not_measured", error=str(error))

    async def _read_log(self) -> Sequence[Metric]:
        log, storage = self._storage.log, self._storage
        subscriptions = [each for issuer_id in self._issuer_ids for each in await log.list_subscriptions(issuer_id)]
        bounds = await log.bounds()
        found = [
            _gauge("event_log_last_sequence", "Sequence of the newest notification ever stored.", bounds.last),
            _gauge("event_log_trimmed_sequence", "Last sequence removed by retention.", bounds.trimmed_through),
            _gauge("event_log_size_bytes", "Disk space used by the event log.", storage.size_bytes()),
            _gauge("event_log_epoch_info", "1 for the present epoch of the event log.", 1, epoch=log.log_id),
            _gauge("subscriptions", "Named subscriptions.", len(subscriptions)),
        ]
        if (free := storage.free_bytes()) is not None:
            found.append(_gauge("event_log_free_bytes", "Space left on the disk of the event log.", free))
        if (oldest := await receive_time_after(log, bounds.trimmed_through)) is not None:
            text = "When the oldest notification in the event log was received."
            found.append(_gauge("event_log_oldest_timestamp_seconds", text, oldest))
        return (*found, *await self._lags(subscriptions, bounds))

    async def _lags(self, subscriptions: Iterable[StoredSubscription], bounds: LogBounds) -> tuple[Metric, Metric]:
        """Measure how far subscriptions lag behind; beyond the limit, only those that lag most."""
        names = ["issuer", "subscription"]
        counts = GaugeMetricFamily(
            f"{_PREFIX}_subscription_lag", "Notifications not yet committed by a subscription.", labels=names
        )
        seconds = GaugeMetricFamily(
            f"{_PREFIX}_subscription_lag_seconds",
            "Age of the oldest notification not yet committed by a subscription.",
            labels=names,
        )
        now, times = self._clock(), dict[int, float | None]()
        lags = sorted(((bounds.lag(each.committed), each) for each in subscriptions), key=lambda pair: -pair[0])
        for lag, subscription in lags[:_MAX_SUBSCRIPTIONS]:
            labels = [subscription.issuer_id, subscription.name]
            counts.add_metric(labels, lag)
            position = max(subscription.committed, bounds.trimmed_through)
            if position not in times:
                times[position] = await receive_time_after(self._storage.log, position) if lag else now
            if (received := times[position]) is not None:
                seconds.add_metric(labels, max(0.0, now - received))
        return counts, seconds

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; see `prometheus_client.registry.Collector`."""
        yield from self._log_metrics
        yield from self._collect_callbacks()
        checks = GaugeMetricFamily(f"{_PREFIX}_readiness_check", "1 for a check that passes.", labels=["check"])
        for check, result in self._checks.items():
            checks.add_metric([check], result == OK)
        yield checks
        yield _gauge(
            "event_log_damage",
            "What was found damaged in the event log since the start.",
            len(self._storage.log.damage),
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
        if self._audit is not None:
            yield from _of_trail(self._audit)
        if self._backfill.is_enabled:
            yield from _of_backfill(self._backfill)
        expiries = GaugeMetricFamily(
            f"{_PREFIX}_certificate_expiry_timestamp_seconds", "Expiry of a certificate in use.", labels=["setting"]
        )
        for setting, expiry in self._certificate_expiries().items():
            expiries.add_metric([setting], expiry)
        yield expiries

    def _collect_callbacks(self) -> Iterator[Metric]:
        handlers = GaugeMetricFamily(
            f"{_PREFIX}_handlers_connected", "Connected handlers by kind of callback.", labels=["kind"]
        )
        for kind, count in self._broker.handler_counts.items():
            handlers.add_metric([kind], count)
        yield handlers
        if self._membership is None:
            return
        yield _gauge("peers", "Other gateways of the cluster that are present.", len(self._membership.peers))
        relayed = CounterMetricFamily(
            f"{_PREFIX}_callbacks_relayed", "Callback requests that passed between gateways.", labels=["direction"]
        )
        counts = self._membership.relay_counts
        relayed.add_metric(["sent"], counts.sent)
        relayed.add_metric(["received"], counts.received)
        yield relayed


def _of_trail(trail: Trail) -> Iterator[Metric]:
    counts = trail.counts
    yield _gauge("audit_available", "Whether the audit trail can be written.", not trail.failure)
    yield _counter("audit_lines", "Lines of the audit trail on disk.", counts.lines)
    yield _counter("audit_lines_lost", "Lines of the audit trail that could not be written.", counts.lost)
    yield _counter("audit_files", "Files that the audit trail began.", counts.files)
    yield _counter(
        "audit_changes_refused", "Changes refused because the audit trail could not be written.", counts.refused
    )


def _of_backfill(state: BackfillState) -> Iterator[Metric]:
    yield _gauge("backfill_leader", "1 if this gateway does the automatic backfills of its cluster.", state.is_leader)
    yield _gauge("backfill_paused", "1 if the backfill of an issuer is paused.", state.is_paused)
    yield _gauge("backfill_pending_cards", "Cards that wait to be read.", state.pending_cards)
    yield _gauge("backfill_pending_gaps", "Gaps that are not closed yet.", state.pending_gaps)


async def receive_time_after(log: EventLog, position: int) -> float | None:
    """Return when the first notification after a position was received, in seconds since 1970 (UTC).

    None if there is none, or if it is damaged.

    Raises:
        GatewayError: EVENT_LOG_UNAVAILABLE.
    """
    try:
        events = (await log.read(position, 1)).events
    except EventDamagedError:
        return None
    return events[0].event.receive_time_ms / 1000 if events else None


def _gauge(name: str, text: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=[*labels])
    family.add_metric([*labels.values()], value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_PREFIX}_{name}", text, value)
