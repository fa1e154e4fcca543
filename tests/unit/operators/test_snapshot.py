"""What the page is read off: the state of a gateway around a log in memory."""

import asyncio
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.backfill.state import BackfillState, BackfillView
from gateway.callbacks.broker import Broker
from gateway.operators import snapshot
from gateway.operators.attention import findings
from gateway.operators.history import History
from gateway.operators.snapshot import Instance, LogFacts, Snapshot, Sources, Subscription, read
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.readiness import Readiness
from gateway.tls.certificates import Certificates
from tests.fakes import ISSUER, FakeEventLog, FakeKeyValueStore
from tests.unit.notifications.watches import a_log_of, watchers_of


class Observed:
    """A gateway without connections."""

    def __init__(self, log: FakeEventLog) -> None:
        self.metrics = Metrics()
        self.watchers = watchers_of(log)
        leases: Any = self.watchers._leases
        self.backfill = BackfillView(BackfillState(is_leader=True))
        self._history = History(self.metrics.registry, log, lambda: 4096)
        self._sources = Sources(
            registry=self.metrics.registry,
            failures=self.metrics.failures,
            readiness=Readiness(log, FakeKeyValueStore(), dict, timeout_seconds=0.05),
            issuer_ids=[ISSUER],
            log=log,
            log_bytes=lambda: 4096,
            leases=leases,
            watchers=self.watchers,
            broker=Broker(asyncio.get_running_loop()),
            handlers=list,
            certificates=cast("Certificates", SimpleNamespace(expiry_times={}, ending=[])),
            lost_line_count=lambda: 0,
            backfill=self._view,
            membership=None,
        )

    async def _view(self) -> BackfillView:
        await self._sources.log.bounds()
        return self.backfill

    async def snapshot(self) -> Snapshot:
        return await read(self._sources, Instance(), self._history)

    async def log(self) -> LogFacts:
        facts = (await self.snapshot()).log
        assert isinstance(facts, LogFacts)
        return facts


async def test_the_subscriptions_that_lag_most_are_told_with_their_watchers() -> None:
    log = a_log_of(150)
    for number in range(150):
        await log.commit(ISSUER, f"name-{number}", number, 5_000)
    observed = Observed(log)
    with (
        observed.watchers.failover.take(ISSUER, "name-1") as active,
        observed.watchers.failover.take(ISSUER, "name-1"),
        observed.watchers.failover.take(ISSUER, "name-2"),
    ):
        assert await active.advance()
        facts = await observed.log()

    assert facts.subscription_count == 150
    assert [each.lag for each in facts.subscriptions] == [150 - number for number in range(50)]
    assert list(facts.subscriptions[:3]) == [
        Subscription(ISSUER, "name-0", 150, 5.0, 0, is_active_here=False, is_active=False),
        Subscription(ISSUER, "name-1", 149, 5.0, 2, is_active_here=True, is_active=True),
        Subscription(ISSUER, "name-2", 148, 5.0, 1, is_active_here=False, is_active=False),
    ]


async def test_subscriptions_that_nobody_watches_are_told_although_many_watched_ones_lag_more() -> None:
    log = a_log_of(150)
    for number in range(150):
        await log.commit(ISSUER, f"name-{number}", number + 1, 5_000)
    observed = Observed(log)
    with ExitStack() as watching:
        for number in range(60):
            watching.enter_context(observed.watchers.failover.take(ISSUER, f"name-{number}"))
        now = await observed.snapshot()

    told = [each.text for each in findings(now) if each.text.startswith("Nobody watches")]
    assert told == ["Nobody watches name-60, which lags by 89, nor 88 more that lag"], "name-149 lags by nothing"


async def test_the_oldest_notification_is_told_unless_it_is_damaged_or_there_is_none() -> None:
    log = a_log_of(3)
    log.trim(1)
    oldest = log.held[0].event.receive_time_ms / 1000

    assert (await Observed(log).log()).oldest_time == oldest
    log.damaged[2] = False
    assert (await Observed(log).log()).oldest_time is None
    assert (await Observed(a_log_of(0)).log()).oldest_time is None


async def test_a_log_that_fails_is_told_and_the_rest_as_ever() -> None:
    log = a_log_of(1)
    observed = Observed(log)
    observed.metrics.rpcs.labels("issuer.card.v1.CardService/SuspendCard", "OK").inc()
    log.fail()

    found = await observed.snapshot()

    assert isinstance(found.log, str)
    assert found.backfill is None
    assert not found.report.is_ready
    assert [(each.rpc, each.count) for each in found.calls] == [("issuer.card.v1.CardService/SuspendCard", 1)]


async def test_a_log_that_does_not_respond_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_TIMEOUT_SECONDS", 0.05)

    async def never() -> None:
        await asyncio.Event().wait()

    found = await Observed(FakeEventLog(turn=never)).snapshot()

    assert found.log == "no response within 0.05 s"


async def test_calls_that_failed_come_first_and_cancelled_ones_did_not_fail() -> None:
    observed = Observed(a_log_of(0))
    for rpc, code, count in (("a", "OK", 5), ("a", "CANCELLED", 2), ("b", "NOT_FOUND", 1), ("c", "OK", 9)):
        observed.metrics.rpcs.labels(rpc, code).inc(count)

    calls = (await observed.snapshot()).calls

    assert [(each.rpc, each.count, each.failed_count) for each in calls] == [("b", 1, 1), ("c", 9, 0), ("a", 7, 0)]
