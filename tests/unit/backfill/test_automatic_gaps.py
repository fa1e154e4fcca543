"""When cards are read by themselves, and which."""

import asyncio

from gateway.backfill.gaps import note_skipped
from gateway.backfill.records import Alive
from gateway.backfill.state import Cause
from gateway.settings import BackfillSettings
from tests.fakes import ISSUER
from tests.unit.backfill.automatic import OTHER_ISSUER, World, played

DAY = 86_400.0


def test_a_first_start_reads_nothing() -> None:
    async def story(world: World) -> None:
        async with world.serving() as gateway:
            await asyncio.sleep(300)
            assert gateway.state.is_leader
            alive = await world.records.alive()
            assert alive is not None
            assert world.now_ms() - alive.time_ms <= 5000
        assert world.history.calls == []

    played(story)


def test_a_restart_without_an_outage_reads_nothing() -> None:
    async def story(world: World) -> None:
        async with world.serving():
            world.notified(1)
            await asyncio.sleep(300)
        await asyncio.sleep(50)
        async with world.serving():
            await asyncio.sleep(300)
        assert world.history.calls == []

    played(story)


def test_after_an_outage_the_active_cards_of_each_issuer_are_read_from_its_beginning_on() -> None:
    async def story(world: World) -> None:
        world.notified(1, "card-old", ago=31 * DAY)
        world.notified(2, "card-b", ago=29 * DAY)
        world.notified(3, "card-a", ago=DAY)
        world.notified(4, "card-c", OTHER_ISSUER, ago=DAY)
        world.lost(5, "card-a", ago=3600)
        world.notified(6, "card-b", ago=1)
        async with world.serving() as gateway:
            gateway.notes.note_change(ISSUER, "card-new")
            await asyncio.sleep(300)
        await asyncio.sleep(30)
        for number, card_id in enumerate(("card-a", "card-b", "card-c", "card-new", "card-a", "card-old"), start=10):
            world.lost(number, card_id)
        await asyncio.sleep(70)
        world.history.calls.clear()
        async with world.serving() as gateway:
            await asyncio.sleep(30)
            assert gateway.state.pending_gaps == 0
        assert sorted(world.read_cards()) == ["card-a", "card-b", "card-c", "card-new"]
        # Of card-a in the order in which they happened; op-5 is from before.
        assert sorted(world.recovered()) == ["op-10", "op-11", "op-12", "op-13", "op-14"]
        assert world.recovered().index("op-10") < world.recovered().index("op-14")

    played(story)


def test_an_outage_of_the_storage_and_a_suspended_process_are_outages() -> None:
    async def story(world: World) -> None:
        world.notified(1)
        async with world.serving() as gateway:
            await asyncio.sleep(100)
            world.history.calls.clear()
            world.store.fail()
            await asyncio.sleep(50)
            world.store.recover()
            await asyncio.sleep(20)
            assert world.history.calls == []
            world.store.fail()
            await asyncio.sleep(70)
            world.lost(2)
            world.store.recover()
            await asyncio.sleep(20)
            assert world.recovered() == ["op-2"]
            world.log.fail()
            await asyncio.sleep(70)
            world.lost(3)
            world.log.recover()
            await asyncio.sleep(70)
            assert world.recovered() == ["op-2", "op-3"]
            assert gateway.state.pending_gaps == 0

    played(story)


def test_a_storage_that_is_down_is_asked_a_few_times_a_minute() -> None:
    async def story(world: World) -> None:
        async with world.serving() as gateway:
            gateway.notes.note(ISSUER, "card-1")
            await asyncio.sleep(100)
            world.store.fail()
            world.store.call_count = 0
            gateway.notes.note(ISSUER, "card-2")
            await asyncio.sleep(60)
            # Gaps, the workers of two issuers, and the notes.
            assert 10 < world.store.call_count <= 12 + 2 * 12 + 30 + 5

    played(story)


def test_a_log_of_an_earlier_version_has_a_gap_since_its_newest_notification() -> None:
    async def story(world: World) -> None:
        world.notified(1, "card-1", ago=7200)
        world.lost(2, "card-1", ago=3600)
        world.lost(3, "card-1", ago=14400)
        async with world.serving():
            # D1 posts again before anybody looks.
            world.notified(4, "card-2")
            await asyncio.sleep(30)
        assert world.recovered() == ["op-2"]

    played(story)


def test_a_log_that_lost_its_end_has_a_gap_since_what_it_kept() -> None:
    async def story(world: World) -> None:
        world.notified(1, "card-1", ago=7200)
        async with world.serving():
            await asyncio.sleep(3600)
            world.history.calls.clear()
            world.lost(2, "card-1", ago=1800)
            # Its loss is noticed after new ones have come.
            world.log.log_id = "11111111"
            world.notified(3, "card-1")
            await asyncio.sleep(30)
            assert world.recovered() == ["op-2"]

    played(story)


def test_a_log_that_lost_everything_has_a_gap_as_long_as_cards_are_active() -> None:
    async def story(world: World) -> None:
        async with world.serving() as gateway:
            gateway.notes.note_change(ISSUER, "card-1")
            await asyncio.sleep(100)
            world.lost(1, "card-1", ago=29 * DAY)
            world.lost(2, "card-1", ago=31 * DAY)
            world.log.log_id = "11111111"
            await asyncio.sleep(30)
            assert world.recovered() == ["op-1"]

    # 1970 is closer to the story's start than a month.
    def later(world: World) -> None:
        world.shift(90 * DAY)

    async def shifted(world: World) -> None:
        later(world)
        await story(world)

    played(shifted)


def test_a_restored_backup_has_a_gap_since_it_was_made() -> None:
    async def story(world: World) -> None:
        world.notified(1, "card-1", ago=7200)
        await world.records.put_alive(Alive(world.now_ms() - 3_600_000, "another0"))
        world.lost(2, "card-1", ago=3000)
        async with world.serving():
            await asyncio.sleep(30)
        assert world.recovered() == ["op-2"]

    played(story)


def test_a_sweep_reads_the_active_cards_at_its_interval() -> None:
    async def story(world: World) -> None:
        world.settings = BackfillSettings(sweep_seconds=3600)
        world.notified(1, "card-1")
        async with world.serving() as gateway:
            await asyncio.sleep(3500)
            world.lost(2, "card-1")
            assert world.history.calls == []
            await asyncio.sleep(200)
            assert world.recovered() == ["op-2"]
            assert gateway.state.pending_gaps == 0
            world.lost(3, "card-1")
            await asyncio.sleep(3600)
        assert len(world.history.calls) == 2
        assert world.recovered() == ["op-2", "op-3"]

    played(story)


def test_a_skipped_notification_leaves_a_gap_between_its_neighbours() -> None:
    async def story(world: World) -> None:
        for number in range(1, 6):
            world.notified(number, "card-1", ago=1000 * (10 - number))
        world.log.damaged = {3: False, 4: False}
        await note_skipped(world.log, world.records, (ISSUER, OTHER_ISSUER), 3)
        (gap,) = (await world.records.gaps(OTHER_ISSUER)).values()
        assert (gap.cause, world.now_ms() - gap.since_ms, world.now_ms() - gap.until_ms) == (
            Cause.SKIPPED,
            8_000_000,
            5_000_000,
        )

    played(story)


def test_damaged_notifications_do_not_hinder_the_search() -> None:
    async def story(world: World) -> None:
        for number in range(1, 5):
            world.notified(number, f"card-{number}", ago=1000 * (10 - number))
        world.log.damaged = {1: False, 3: False, 4: True}
        world.lost(5, "card-2", ago=1000)
        async with world.serving():
            await asyncio.sleep(30)
        assert world.read_cards() == ["card-2"]
        assert world.recovered() == ["op-5"]

    played(story)
