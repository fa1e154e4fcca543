"""What the page shows, read at one moment."""

import asyncio
import os
import platform
import socket
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry

from gateway.backfill.state import BackfillView
from gateway.callbacks.broker import Broker
from gateway.callbacks.model import ConnectedHandler, Membership
from gateway.errors import GatewayError
from gateway.notifications.watch import Watchers
from gateway.operators.history import Growth, History, Minute
from gateway.operators.registry import is_failed_rpc, is_unanswered, samples
from gateway.ports import EventLog, LogBounds, StoredSubscription, SubscriptionLeases
from gateway.telemetry.collectors import receive_time_after
from gateway.telemetry.failures import Failure, Failures
from gateway.telemetry.readiness import Readiness, Report
from gateway.tls.certificates import Certificates
from gateway.version import described

__all__ = ["Callbacks", "Calls", "Instance", "LogFacts", "Snapshot", "Sources", "Subscription", "Unwatched", "read"]

_MAX_SUBSCRIPTIONS: Final = 50
_MAX_FAILURES: Final = 20
_TIMEOUT_SECONDS: Final = 2.0
"""For the event log, so that the page can say that it does not respond."""


@dataclass(frozen=True, slots=True)
class Instance:
    """What does not change while the gateway runs."""

    version: str = field(default_factory=described)
    python: str = field(default_factory=platform.python_version)
    host: str = field(default_factory=socket.gethostname)
    process_id: int = field(default_factory=os.getpid)
    start_time: float = field(default_factory=time.time)
    """In seconds since 1970 (UTC)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the page is read off."""

    registry: CollectorRegistry
    failures: Failures
    readiness: Readiness
    issuer_ids: Sequence[str]
    log: EventLog
    log_bytes: Callable[[], int]
    leases: SubscriptionLeases
    watchers: Watchers
    broker: Broker
    handlers: Callable[[], Collection[ConnectedHandler]]
    certificates: Certificates
    lost_line_count: Callable[[], int]
    backfill: Callable[[], Awaitable[BackfillView]]
    membership: Membership | None
    """None for a gateway without a cluster."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A named subscription."""

    issuer_id: str
    name: str
    lag: int
    commit_time: float
    """In seconds since 1970 (UTC)."""
    watcher_count: int
    """At all gateways."""
    is_active_here: bool
    is_active: bool
    """Whether any gateway has its active watcher, as far as that can be told."""


@dataclass(frozen=True, slots=True)
class Unwatched:
    """The subscriptions that lag while nobody watches them."""

    name: str
    """The one that lags most."""
    lag: int
    """How far it lags."""
    count: int
    """How many there are."""


@dataclass(frozen=True, slots=True)
class LogFacts:
    """The event log."""

    bounds: LogBounds
    size_bytes: int
    oldest_time: float | None
    """When the oldest notification was received, in seconds since 1970 (UTC); None if there is none to be read."""
    subscriptions: Sequence[Subscription]
    """Those that lag most."""
    subscription_count: int
    unwatched: Unwatched | None
    """Those that lag while nobody watches, also of those that are not among the `subscriptions`; None without any."""


@dataclass(frozen=True, slots=True)
class Calls:
    """The completed calls of an rpc."""

    rpc: str
    count: int
    failed_count: int
    reasons: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The callback requests of a kind."""

    kind: str
    handler_count: int
    outcomes: Mapping[str, int]
    open_count: int
    unanswered_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of the gateway."""

    time: float
    """In seconds since 1970 (UTC)."""
    instance: Instance
    report: Report
    log: LogFacts | str
    """Or why it cannot be read."""
    damage: Sequence[str]
    growth: Growth | None
    handlers: Sequence[ConnectedHandler]
    callbacks: Sequence[Callbacks]
    calls: Sequence[Calls]
    failures: Sequence[Failure]
    certificate_expiries: Mapping[str, float]
    """By setting, in seconds since 1970 (UTC)."""
    ending_certificates: Collection[str]
    """The settings of those that expire soon, or have expired."""
    lost_line_count: int
    minutes: Mapping[str, Sequence[Minute]]
    """By the name of the chart."""
    backfill: BackfillView | None
    """None if it cannot be read."""
    membership: Membership | None


async def read(sources: Sources, instance: Instance, history: History) -> Snapshot:
    """Read everything; what cannot be read is told as such."""
    report, log, backfill = await asyncio.gather(sources.readiness.report(), _log_facts(sources), _backfill(sources))
    return Snapshot(
        time=time.time(),
        instance=instance,
        report=report,
        log=log,
        damage=sorted(sources.log.damage),
        growth=history.growth,
        handlers=tuple(sources.handlers()),
        callbacks=_callbacks(sources),
        calls=_calls(sources),
        failures=sources.failures.latest(_MAX_FAILURES),
        certificate_expiries=sources.certificates.expiry_times,
        ending_certificates=sources.certificates.ending,
        lost_line_count=sources.lost_line_count(),
        minutes=history.minutes,
        backfill=backfill,
        membership=sources.membership,
    )


async def _log_facts(sources: Sources) -> LogFacts | str:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await _read_log(sources)
    except TimeoutError:
        return f"no response within {_TIMEOUT_SECONDS:g} s"
    except GatewayError as error:
        return error.message
    except OSError as error:
        return error.strerror or "its size cannot be read"


async def _backfill(sources: Sources) -> BackfillView | None:
    with suppress(TimeoutError, GatewayError):
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            return await sources.backfill()
    return None


async def _read_log(sources: Sources) -> LogFacts:
    log = sources.log
    stored = [each for issuer_id in sources.issuer_ids for each in await log.list_subscriptions(issuer_id)]
    bounds = await log.bounds()
    size = sources.log_bytes()
    oldest = await receive_time_after(log, bounds.trimmed_through)
    lagging = sorted(stored, key=lambda each: (-bounds.lag(each.committed), each.issuer_id, each.name))
    watchers = {issuer_id: sources.leases.watchers(issuer_id) for issuer_id in sources.issuer_ids}
    shown = await asyncio.gather(
        *(
            _subscription(sources, each, bounds, watchers[each.issuer_id].get(each.name, 0))
            for each in lagging[:_MAX_SUBSCRIPTIONS]
        )
    )
    left = [each for each in lagging if bounds.lag(each.committed) and not watchers[each.issuer_id].get(each.name)]
    unwatched = Unwatched(left[0].name, bounds.lag(left[0].committed), len(left)) if left else None
    return LogFacts(bounds, size, oldest, shown, len(stored), unwatched)


async def _subscription(
    sources: Sources, stored: StoredSubscription, bounds: LogBounds, watcher_count: int
) -> Subscription:
    issuer_id, name = stored.issuer_id, stored.name
    is_active = is_here = sources.watchers.failover.has_active(issuer_id, name)
    if watcher_count and not is_here:
        is_active = await sources.leases.is_taken(issuer_id, name)
    lag, commit_time = bounds.lag(stored.committed), stored.commit_time_ms / 1000
    return Subscription(issuer_id, name, lag, commit_time, watcher_count, is_here, is_active)


def _callbacks(sources: Sources) -> Sequence[Callbacks]:
    open_now = {labels["kind"]: value for labels, value in samples(sources.registry, "callbacks_open")}
    outcomes: defaultdict[str, dict[str, int]] = defaultdict(dict)
    unanswered: defaultdict[str, int] = defaultdict(int)
    for labels, value in samples(sources.registry, "callbacks_total"):
        if value:
            outcomes[labels["kind"]][labels["outcome"]] = int(value)
        unanswered[labels["kind"]] += int(value) * is_unanswered(labels)
    return [
        Callbacks(kind, handlers, outcomes[kind], int(open_now.get(kind, 0)), unanswered[kind])
        for kind, handlers in sources.broker.handler_counts.items()
    ]


def _calls(sources: Sources) -> Sequence[Calls]:
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for labels, value in samples(sources.registry, "rpcs_total"):
        count = counts[labels["rpc"]]
        count[0] += int(value)
        count[1] += int(value) * is_failed_rpc(labels)
    calls = [Calls(rpc, count, failed, sources.failures.counts(rpc)) for rpc, (count, failed) in counts.items()]
    return sorted(calls, key=lambda each: (-each.failed_count, -each.count, each.rpc))
