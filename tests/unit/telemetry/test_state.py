"""What is read off the gateway's state at each scrape."""

import asyncio
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry

from gateway.audit.lines import Counts
from gateway.backfill.state import BackfillPhase, BackfillState, IssuerBackfill
from gateway.callbacks.broker import Broker
from gateway.callbacks.model import RelayCounts
from gateway.telemetry.collectors import State
from gateway.telemetry.readiness import Readiness
from tests.fakes import ISSUER, FakeEventLog, FakeKeyValueStore
from tests.unit.callbacks.broker_samples import RecordingHandler
from tests.unit.notifications.watches import a_log_of, a_watch, collect, watchers_of


class Observed:
    """The state of a gateway around a log."""

    def __init__(
        self, log: FakeEventLog, *, membership: Any = None, free_bytes: int | None = 8192, audit: Any = None
    ) -> None:
        self.broker = Broker(asyncio.get_running_loop())
        self.readiness = Readiness(log, FakeKeyValueStore(), dict, max_age_seconds=0.0)
        storage: Any = SimpleNamespace(log=log, size_bytes=lambda: 4096, free_bytes=lambda: free_bytes)
        self.watchers = watchers_of(log)
        self.backfill = BackfillState()
        self.registry = CollectorRegistry()
        self._state = State(
            issuer_ids=[ISSUER],
            storage=storage,
            readiness=self.readiness,
            broker=self.broker,
            membership=membership,
            watchers=self.watchers,
            certificate_expiries=lambda: {"edge.tls_certificate_file": 1_800_000_000.0},
            lost_line_count=lambda: 7,
            backfill=self.backfill,
            audit=audit,
            clock=lambda: 65.0,
        )
        self.registry.register(self._state)

    async def scrape(self) -> dict[str, dict[tuple[str, ...], float]]:
        await self._state.refresh()
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for metric in self.registry.collect():
            for sample in metric.samples:
                labels = tuple(sample.labels.values())
                found.setdefault(sample.name.removeprefix("d1_gateway_"), {})[labels] = sample.value
        return found


async def test_the_log_its_subscriptions_and_what_else_has_state_are_told() -> None:
    log = a_log_of(9)
    await log.commit(ISSUER, "ledger", 4, 0)
    await log.commit(ISSUER, "fraud", 9, 0)
    log.trim(2)
    log.damage.add("notification 5")

    found = await Observed(log).scrape()

    del found["handlers_connected"], found["readiness_check"]
    assert found == {
        "event_log_last_sequence": {(): 9},
        "event_log_trimmed_sequence": {(): 2},
        "event_log_size_bytes": {(): 4096},
        "event_log_free_bytes": {(): 8192},
        "event_log_epoch_info": {("0a1b2c3d",): 1},
        "event_log_oldest_timestamp_seconds": {(): 3},
        "event_log_damage": {(): 1},
        "subscriptions": {(): 2},
        "subscription_lag": {(ISSUER, "ledger"): 5, (ISSUER, "fraud"): 0},
        "subscription_lag_seconds": {(ISSUER, "ledger"): 60, (ISSUER, "fraud"): 0},
        "watchers_standing_by": {(): 0},
        "notifications_delivered_total": {(): 0},
        "log_lines_lost_total": {(): 7},
        "backfill_leader": {(): 0},
        "backfill_paused": {(): 0},
        "backfill_pending_cards": {(): 0},
        "backfill_pending_gaps": {(): 0},
        "certificate_expiry_timestamp_seconds": {("edge.tls_certificate_file",): 1_800_000_000.0},
    }


async def test_a_subscription_lags_by_the_age_of_the_oldest_notification_that_it_has_not_committed() -> None:
    log = a_log_of(9)
    for name, committed in (("ledger", 4), ("copy", 4), ("trimmed", 0), ("ahead", 9)):
        await log.commit(ISSUER, name, committed, 0)
    log.trim(2)

    found = await Observed(log).scrape()

    lags = {name: seconds for (_, name), seconds in found["subscription_lag_seconds"].items()}
    assert lags == {"ledger": 60, "copy": 60, "trimmed": 62, "ahead": 0}
    assert log.read_count == 4, "one for the oldest, one for readiness, one for each position"


async def test_an_empty_log_has_no_oldest_notification_and_a_disk_elsewhere_no_space_left_here() -> None:
    found = await Observed(a_log_of(0), free_bytes=None).scrape()

    assert found["event_log_last_sequence"] == {(): 0}
    assert not {"event_log_oldest_timestamp_seconds", "event_log_free_bytes"} & found.keys()


async def test_each_check_of_readiness_is_told_and_a_new_epoch_has_a_series_of_its_own() -> None:
    log = a_log_of(1)
    observed = Observed(log)
    starting = (await observed.scrape())["readiness_check"]
    observed.readiness.phase = "serving"
    log.log_id = "11111111"
    serving = await observed.scrape()
    log.fail()
    failing = (await observed.scrape())["readiness_check"]

    assert starting == {("serving",): 0, ("event_log_read",): 1, ("event_log_write",): 1}
    assert serving["readiness_check"] == {("serving",): 1, ("event_log_read",): 1, ("event_log_write",): 1}
    assert serving["event_log_epoch_info"] == {("11111111",): 1}
    assert failing == {("serving",): 1, ("event_log_read",): 0, ("event_log_write",): 1}


async def test_peers_and_what_passed_between_them_are_told_in_a_cluster_only() -> None:
    membership = SimpleNamespace(peers={"0123456789abcdef": 2}, relay_counts=RelayCounts(sent=5, received=3))

    found = await Observed(a_log_of(0), membership=membership).scrape()

    assert found["peers"] == {(): 1}
    assert found["callbacks_relayed_total"] == {("sent",): 5, ("received",): 3}
    assert not {"peers", "callbacks_relayed_total"} & (await Observed(a_log_of(0)).scrape()).keys()


async def test_of_very_many_subscriptions_the_hundred_that_lag_most_are_told() -> None:
    log = a_log_of(150)
    for number in range(150):
        await log.commit(ISSUER, f"name-{number}", number, 0)

    found = await Observed(log).scrape()

    assert found["subscriptions"] == {(): 150}
    assert found["subscription_lag"] == {(ISSUER, f"name-{number}"): 150 - number for number in range(100)}


async def test_a_log_that_fails_is_left_out_and_the_rest_told() -> None:
    log = a_log_of(1)
    observed = Observed(log)
    log.fail()
    while_failing = await observed.scrape()
    log.recover()

    assert "event_log_last_sequence" not in while_failing
    assert while_failing["notifications_delivered_total"] == {(): 0}
    assert (await observed.scrape())["event_log_last_sequence"] == {(): 1}


async def test_handlers_are_counted_once_for_each_kind_and_not_once_they_drain() -> None:
    observed = Observed(a_log_of(0))
    broker = observed.broker
    session = broker.connect(RecordingHandler(), [(ISSUER, "deliver_otp"), ("ISSUER0002", "deliver_otp")], 1)
    broker.connect(RecordingHandler(), [(ISSUER, "deliver_otp"), (ISSUER, "authenticate")], 1)

    before = (await observed.scrape())["handlers_connected"]
    broker.drain(session)
    after = (await observed.scrape())["handlers_connected"]

    assert (before["deliver_otp",], before["authenticate",]) == (2, 1)
    assert before["card_credentials",] == 0, "a kind that nobody takes is told too"
    assert after["deliver_otp",] == 1


async def test_what_is_delivered_is_counted_once_for_each_stream() -> None:
    log = a_log_of(3)
    observed = Observed(log)
    for _ in range(2):
        await collect(observed.watchers.watch(a_watch()), log, 3)

    assert (await observed.scrape())["notifications_delivered_total"] == {(): 6}


async def test_watchers_that_stand_by_are_told() -> None:
    observed = Observed(a_log_of(0))
    sessions = observed.watchers.failover
    with (
        sessions.take(ISSUER, "ledger") as ledger,
        sessions.take(ISSUER, "ledger"),
        sessions.take(ISSUER, "fraud") as fraud,
    ):
        assert await ledger.advance()
        assert await fraud.advance()
        assert (await observed.scrape())["watchers_standing_by"] == {(): 1}


async def test_the_audit_trail_is_told_where_there_is_one() -> None:
    trail = SimpleNamespace(counts=Counts(lines=9, lost=1, refused=2, files=3), failure="No space left on device")

    found = await Observed(a_log_of(0), audit=trail).scrape()

    assert {name: value[()] for name, value in found.items() if name.startswith("audit_")} == {
        "audit_available": 0,
        "audit_lines_total": 9,
        "audit_lines_lost_total": 1,
        "audit_changes_refused_total": 2,
        "audit_files_total": 3,
    }
    assert not any(name.startswith("audit_") for name in await Observed(a_log_of(0)).scrape())


async def test_the_backfill_is_told_unless_it_is_switched_off() -> None:
    observed = Observed(a_log_of(0))
    observed.backfill.is_leader = True
    observed.backfill.issuers = {
        ISSUER: IssuerBackfill(BackfillPhase.RUNNING, cards_total=50, cards_done=20, pending_gaps=2, pending_cards=3),
        "ISSUER0002": IssuerBackfill(BackfillPhase.PAUSED, pending_cards=4),
    }

    found = await observed.scrape()
    observed.backfill.is_enabled = False

    assert {name: value[()] for name, value in found.items() if name.startswith("backfill_")} == {
        "backfill_leader": 1,
        "backfill_paused": 1,
        "backfill_pending_cards": 37,
        "backfill_pending_gaps": 2,
    }
    assert not any(name.startswith("backfill_") for name in await observed.scrape())
