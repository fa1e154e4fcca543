"""How cards are read by themselves: one gateway at a time, going on where the one before was, gently."""

import asyncio
from collections import Counter

import pytest
from structlog.testing import capture_logs

from gateway.backfill.active_cards import CardIds
from gateway.backfill.records import Alive, Gap, Progress, Refused
from gateway.backfill.state import BackfillPhase, Cause, IssuerBackfill
from gateway.settings import BackfillSettings
from issuer.common.v1 import error_pb2
from tests.fakes import ISSUER, FakeSubscriptionLeases
from tests.unit.backfill.automatic import OTHER_ISSUER, World, played

LEASE = "$backfill"
CARDS = [f"card-{number:03}" for number in range(100)]


async def with_a_gap(world: World, *, seconds: float = 1000) -> None:
    """Let a time pass in which no gateway runs, with a lost operation on each of a hundred cards."""
    for number, card_id in enumerate(CARDS):
        world.notified(number, card_id)
    await world.records.put_alive(Alive(world.now_ms(), world.log.log_id))
    await asyncio.sleep(seconds)
    for number, card_id in enumerate(CARDS, start=100):
        world.lost(number, card_id, ago=seconds / 2)


def test_a_budget_limits_how_fast_the_cards_are_read_and_the_state_shows_how_far_that_is() -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        async with world.serving() as gateway:
            await asyncio.sleep(10.1)
            state = gateway.state.issuers[ISSUER]
            assert state.phase is BackfillPhase.RUNNING
            assert (state.causes, state.pending_gaps) == ((Cause.OUTAGE,), 1)
            assert (state.cards_total, state.cards_done, state.recovered_count) == (100, 51, 51)
            assert gateway.state.pending_cards == 49
            assert gateway.state.issuers[OTHER_ISSUER].phase is BackfillPhase.IDLE
            await asyncio.sleep(10)
            assert gateway.state.phase is BackfillPhase.IDLE
            assert (state.cards_total, state.pending_gaps, state.causes) == (0, 0, ())
        assert world.read_cards() == CARDS
        assert world.history.backgrounds == {True}
        assert len(world.recovered()) == 100

    played(story)


def test_a_gateway_that_drains_stores_where_it_was_and_the_next_one_goes_on_there() -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        async with world.serving():
            await asyncio.sleep(7)
        assert world.leases.held == {}
        async with world.serving() as gateway:
            await asyncio.sleep(1)
            assert gateway.state.issuers[ISSUER].cards_done_before > 30
            await asyncio.sleep(30)
        # The card that was being read is read again at most.
        assert len(CARDS) <= len(world.read_cards()) <= len(CARDS) + 1
        assert len(world.recovered()) == 100

    played(story)


def test_a_gateway_that_loses_the_lease_stops_at_once_and_another_goes_on_at_the_stored_progress() -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        other = FakeSubscriptionLeases()
        other.take_elsewhere(LEASE)
        async with world.serving() as one, world.serving(leases=other) as two:
            await asyncio.sleep(9)
            assert (one.state.is_leader, two.state.is_leader) == (True, False)
            world.leases.take_elsewhere(LEASE)
            count = len(world.read_cards())
            await asyncio.sleep(30)
            # It notices by itself, before anybody tells it; a card may be on its way.
            assert len(world.read_cards()) <= count + 1
            assert one.state.is_leader is False
            other.free_elsewhere(LEASE)
            await asyncio.sleep(60)
            assert two.state.is_leader
        assert set(world.read_cards()) == set(CARDS)
        # At most what was read since the progress was stored.
        assert len(world.read_cards()) <= len(CARDS) + 5 * 5 + 1

    played(story)


def test_a_gateway_that_stands_by_shows_what_the_leader_has_stored() -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        other = FakeSubscriptionLeases()
        other.take_elsewhere(LEASE)
        async with world.serving() as leader, world.serving(leases=other) as standby:
            await asyncio.sleep(9)
            own, view = await leader.automatic.view(), await standby.automatic.view()
            assert (own.state, own.is_at_peer) == (leader.state, False)
            assert view.is_at_peer
            issuer = view.state.issuers[ISSUER]
            assert (issuer.phase, issuer.causes, issuer.pending_gaps) == (BackfillPhase.RUNNING, (Cause.OUTAGE,), 1)
            assert 20 < issuer.cards_done == issuer.recovered_count < issuer.cards_total == 100
            await asyncio.sleep(30)
            assert (await standby.automatic.view()).state.issuers == {}, "the progress of a run that is over is no run"
            await world.records.add_gap(ISSUER, Gap(1, 2, Cause.SWEEP))
            assert (await standby.automatic.view()).state.issuers == {ISSUER: IssuerBackfill(pending_gaps=1)}
            other.free_elsewhere(LEASE)
            view = await standby.automatic.view()
            assert (view.is_at_peer, view.state) == (False, standby.state), "nobody has the lease"

    played(story)


def test_the_loss_of_the_lease_ends_a_pause() -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        world.history.fail(error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE, 1000)
        async with world.serving() as gateway:
            await asyncio.sleep(100)
            assert gateway.state.is_paused
            world.leases.take_elsewhere(LEASE)
            world.leases.tell_losses()
            await asyncio.sleep(0.1)
            assert (gateway.state.is_leader, gateway.state.issuers) == (False, {})

    played(story)


def test_a_pause_shows_and_stops_neither_another_issuer_nor_what_comes_after_it() -> None:
    async def story(world: World) -> None:
        world.notified(200, "card-200", OTHER_ISSUER)
        await with_a_gap(world)
        world.lost(201, "card-200")
        world.history.fail(error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED, 1, retry_after_seconds=40)
        async with world.serving() as gateway:
            await asyncio.sleep(20)
            paused = [each for each in gateway.state.issuers.values() if each.phase is BackfillPhase.PAUSED]
            assert [each.pause.reason for each in paused if each.pause] == [
                error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED
            ]
            assert len(set(world.read_cards())) in (2, 101)
            await asyncio.sleep(60)
            assert not gateway.state.is_paused
        assert len(world.recovered()) == 101

    played(story)


def test_a_gap_that_is_found_during_a_run_needs_another_one() -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        async with world.serving() as gateway:
            await asyncio.sleep(10)
            await world.records.add_gap(ISSUER, Gap(world.now_ms(), world.now_ms(), Cause.LOG_LOSS))
            world.lost(300, CARDS[0])
            await asyncio.sleep(60)
            assert gateway.state.pending_gaps == 0
        assert Counter(world.read_cards()) == Counter(CARDS * 2)
        assert "op-300" in world.recovered()

    played(story)


def test_a_gap_that_is_found_anew_with_the_same_beginning_is_read_from_the_first_card_on() -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        async with world.serving():
            await asyncio.sleep(30)
            (event, *_) = world.log.held
            for _ in range(2):
                await world.records.add_gap(ISSUER, Gap(event.event.receive_time_ms, world.now_ms(), Cause.LOG_LOSS))
                await asyncio.sleep(30)
        assert Counter(world.read_cards()) == Counter(CARDS * 3)

    played(story)


def test_several_gaps_are_closed_by_one_run() -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        for seconds in (300, 200, 100):
            gap = Gap(world.now_ms() - seconds * 1000, world.now_ms(), Cause.REFUSED)
            await world.records.add_gap(ISSUER, gap)
        async with world.serving() as gateway:
            await asyncio.sleep(3)
            assert gateway.state.issuers[ISSUER].causes == (Cause.OUTAGE, Cause.REFUSED)
            await asyncio.sleep(30)
            assert gateway.state.pending_gaps == 0
        assert world.read_cards() == CARDS
        assert len(world.recovered()) == 100

    played(story)


def test_a_storage_that_fails_during_a_run_pauses_it_and_it_goes_on() -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        async with world.serving() as gateway:
            await asyncio.sleep(10)
            world.store.fail()
            await asyncio.sleep(30)
            state = gateway.state.issuers[ISSUER]
            assert state.phase is BackfillPhase.PAUSED
            assert state.pause is not None
            assert state.pause.reason == error_pb2.ERROR_REASON_STORE_UNAVAILABLE
            world.store.recover()
            await asyncio.sleep(30)
        assert world.read_cards() == CARDS

    played(story)


@pytest.mark.parametrize("reason", ["UPSTREAM_FAILED", "UPSTREAM_CONTRACT", "INTERNAL"])
def test_a_card_that_cannot_be_read_is_tried_again_in_growing_intervals_and_the_others_go_on(reason: str) -> None:
    async def story(world: World) -> None:
        world.notified(1, "card-1")
        world.notified(2, "card-2")
        async with world.serving() as gateway:
            await world.records.add_gap(ISSUER, Gap(world.now_ms(), world.now_ms(), Cause.OUTAGE))
            world.lost(3, "card-1")
            world.lost(4, "card-2")
            world.history.fail(error_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"), 3)
            await asyncio.sleep(20)
            # A card whose call fails is tried three times at once, and no call of the other one fails.
            assert world.recovered() == (["op-4"] if reason == "UPSTREAM_FAILED" else [])
            await asyncio.sleep(200)
            assert gateway.state.pending_cards == 0
        assert sorted(world.recovered()) == ["op-3", "op-4"]

    played(story)


def test_a_card_that_d1_does_not_know_is_given_up_and_one_that_fails_for_a_day_too() -> None:
    async def story(world: World) -> None:
        world.settings = BackfillSettings(outage_seconds=20)
        async with world.serving() as gateway:
            await asyncio.sleep(10)
            gateway.notes.note(ISSUER, "card-1")
            world.history.fail(error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND)
            await asyncio.sleep(100)
            assert (len(world.history.calls), gateway.state.pending_cards) == (1, 0)
            gateway.notes.note(ISSUER, "card-2")
            world.history.fail(error_pb2.ERROR_REASON_UPSTREAM_FAILED, 1000)
            with capture_logs() as lines:
                # D1 may reset connections for as long as that.
                await asyncio.sleep(6 * 3600)
                assert gateway.state.pending_cards == 1
                await asyncio.sleep(2 * 3600)
            assert (len(world.history.calls), gateway.state.pending_cards) == (1 + 3 * 16, 0)
        assert [line["card_id"] for line in lines if line["event"] == "backfill_card_given_up"] == ["card-2"]

    played(story)


def test_a_platform_that_fails_for_all_cards_is_waited_for_and_few_of_them_wait_for_another_attempt() -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        async with world.serving() as gateway:
            world.history.fail(error_pb2.ERROR_REASON_UPSTREAM_CONTRACT, 25)
            await asyncio.sleep(600)
            state = gateway.state.issuers[ISSUER]
            assert state.phase is BackfillPhase.PAUSED
            assert state.pause is not None
            assert state.pause.reason == error_pb2.ERROR_REASON_UPSTREAM_CONTRACT
            assert len(world.history.calls) < 25
            await asyncio.sleep(3600)
            assert (gateway.state.phase, gateway.state.pending_cards) == (BackfillPhase.IDLE, 0)
        assert len(world.recovered()) == len(CARDS)

    played(story)


def test_records_that_are_not_as_they_were_stored_cost_more_reading_but_lose_nothing() -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        for key in ("gap.ISSUER0001.5", "card.ISSUER0001.card-7", "progress.ISSUER0001", "alive", "sweep"):
            await world.store.put(f"backfill.{key}", b'{"since_ms": 1, "unknown": []', 1e9)
        async with world.serving() as gateway:
            await asyncio.sleep(60)
            assert gateway.state.pending_gaps == gateway.state.pending_cards == 0
        assert set(world.read_cards()) == {*CARDS, "card-7"}
        assert len(world.recovered()) == 100

    played(story)


def test_the_progress_of_a_run_is_kept_in_the_store() -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        async with world.serving():
            await asyncio.sleep(8)
            progress = await world.records.progress(ISSUER)
        assert isinstance(progress, Progress)
        assert (progress.total, progress.after) == (100, CARDS[progress.done - 1])
        assert progress.recovered == progress.done > 20

    played(story)


def test_a_card_that_is_refused_again_while_it_is_read_is_read_again() -> None:
    async def story(world: World) -> None:
        await world.records.add_refused(ISSUER, "card-1", Refused(5, 10))
        found = await world.records.refused("backfill.card.ISSUER0001.card-1")
        assert found is not None
        await world.records.add_refused(ISSUER, "card-1", Refused(7, 20))
        await world.records.delete(found[0])
        found = await world.records.refused("backfill.card.ISSUER0001.card-1")
        assert found is not None
        assert found[1] == Refused(5, 20)

    played(story)


def test_ids_of_cards_are_sorted_and_found_however_many_there_are() -> None:
    async def story(_: World) -> None:
        ids = {f"{number:05}" for number in range(12_345)}
        cards = await CardIds.sort(ids)
        assert cards.total == 12_345
        assert list(cards.after("")) == sorted(ids)
        assert (cards.count_through("00099"), cards.count_through("00099x"), cards.count_through("")) == (100, 100, 0)
        assert list(cards.after("12340")) == ["12341", "12342", "12343", "12344"]
        assert list(cards.after("12340x")) == ["12341", "12342", "12343", "12344"]
        none = await CardIds.sort(())
        assert (none.total, list(none.after(""))) == (0, [])

    played(story)


def test_a_fault_of_its_own_is_logged_wherever_it_is_and_does_not_end_the_backfill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(world: World) -> None:
        await with_a_gap(world)
        with monkeypatch.context() as patched:
            patched.setattr(world.log, "bounds", None)
            with capture_logs() as logged:
                async with world.serving():
                    await asyncio.sleep(100)
        # Not each second.
        assert [line["event"] for line in logged] == ["backfill_failed"] * 4
        async with world.serving():
            await asyncio.sleep(100)
        assert world.read_cards() == CARDS

    played(story)
