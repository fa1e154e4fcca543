"""What a gateway notes of cards while it works."""

import asyncio

import pytest

from gateway.backfill import notes
from gateway.backfill.noted_cards import NotedCards
from gateway.backfill.state import Cause
from gateway.errors import GatewayError
from gateway.ports import Call
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import error_pb2
from tests.fakes import ISSUER, FakeCardIssuer
from tests.unit.backfill.automatic import OTHER_ISSUER, Gateway, World, played


def test_a_refused_card_is_read_once_the_platform_may_have_sent_the_notification_again() -> None:
    async def story(world: World) -> None:
        world.shift(86_400)
        async with world.serving() as gateway:
            await asyncio.sleep(10)
            world.lost(1, "card-1", ago=23 * 3600)
            world.lost(2, "card-1", ago=25 * 3600)
            gateway.notes.note(ISSUER, "card-1")
            await asyncio.sleep(10)
            assert gateway.state.pending_cards == 1
            await asyncio.sleep(45)
            assert world.history.calls == []
            await asyncio.sleep(15)
            assert world.recovered() == ["op-1"]
            assert gateway.state.pending_cards == 0

    played(story)


def test_what_another_gateway_notes_the_leader_reads() -> None:
    async def story(world: World) -> None:
        standby = type(world.leases)()
        standby.take_elsewhere("$backfill")
        async with world.serving(), world.serving(leases=standby) as other:
            other.notes.note(OTHER_ISSUER, "card-1")
            world.lost(1, "card-1")
            await asyncio.sleep(80)
            assert world.recovered() == ["op-1"]

    played(story)


def test_notes_wait_for_the_storage_and_are_stored_as_the_gateway_ends() -> None:
    async def story(world: World) -> None:
        async with world.serving() as gateway:
            world.store.fail()
            gateway.notes.note(ISSUER, "card-1")
            await asyncio.sleep(30)
            world.store.recover()
            await asyncio.sleep(5)
            assert await world.records.refused_keys(ISSUER) == ["backfill.card.ISSUER0001.card-1"]
            gateway.notes.note(ISSUER, "card-2")
            gateway.notes.note_change(ISSUER, "card-3")
        assert len(await world.records.refused_keys(ISSUER)) == 2
        assert await world.records.active_cards(ISSUER) == ["card-3"]

    played(story)


def test_more_refused_cards_than_there_is_room_for_make_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "_MAX_PENDING", 3)

    async def story(world: World) -> None:
        world.shift(86_400)
        gateway = Gateway(world, world.leases)
        async with gateway.notes.stored():
            began_ms = world.now_ms()
            for number in range(5):
                gateway.notes.note(ISSUER, f"card-{number}")
                gateway.notes.note(ISSUER, "card-0")
            await asyncio.sleep(1)
            assert len(await world.records.refused_keys(ISSUER)) == 3
            (gap,) = (await world.records.gaps(ISSUER)).values()
            assert (gap.since_ms, gap.cause) == (began_ms - 86_400_000, Cause.REFUSED)
            assert await world.records.gaps(OTHER_ISSUER) == {}

    played(story)


def test_a_flood_of_refused_notifications_makes_a_gap_an_hour_and_no_more_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notes, "_MAX_MISSED", 10)

    async def story(world: World) -> None:
        world.shift(86_400)
        gateway = Gateway(world, world.leases)
        async with gateway.notes.stored():
            for number in range(7200):
                gateway.notes.note(ISSUER, f"card-{number}")
                await asyncio.sleep(1)
            assert len(await world.records.refused_keys(ISSUER)) == 20
            first, second = sorted((await world.records.gaps(ISSUER)).values(), key=lambda gap: gap.since_ms)
            # It was found anew with each of them, so a run that began before does not close it.
            assert second.until_ms - first.until_ms == 3_600_000
            assert second.until_ms == world.now_ms() - 1000

    played(story)


def test_an_active_card_is_noted_once_in_hours() -> None:
    async def story(world: World) -> None:
        async with world.serving() as gateway:
            await asyncio.sleep(1)
            world.store.call_count = 0
            for _ in range(100):
                gateway.notes.note_change(ISSUER, "card-1")
            await asyncio.sleep(1)
            assert world.store.call_count == 1
            await asyncio.sleep(6 * 3600)
            world.store.now = 30 * 86_400.0
            assert await world.records.active_cards(ISSUER) == ["card-1"]
            gateway.notes.note_change(ISSUER, "card-1")
            await asyncio.sleep(1)
            world.store.now = 60 * 86_400.0
            assert await world.records.active_cards(ISSUER) == ["card-1"]
            world.store.now = 60 * 86_400.0 + 7 * 3600
            assert await world.records.active_cards(ISSUER) == []

    played(story)


async def test_each_change_of_a_card_but_a_deletion_is_noted_under_its_present_ids() -> None:
    noted: list[tuple[str, str]] = []
    cards = FakeCardIssuer()
    port = NotedCards(cards, lambda issuer_id, card_id: noted.append((issuer_id, card_id)))
    call = Call(ISSUER, "correlation")

    await port.create_card(card.CreateCardRequest(), call)
    await port.register_card(card.RegisterCardRequest(card_id="a"), call)
    await port.renew_card(card.RenewCardRequest(card_id="b", new_card_id="c"), call)
    await port.replace_card(card.ReplaceCardRequest(card_id="d"), call)
    await port.suspend_card(card.SuspendCardRequest(card_id="e"), call)
    await port.resume_card(card.ResumeCardRequest(card_id="f"), call)
    await port.delete_card(card.DeleteCardRequest(card_id="g"), call)
    cards.failure = GatewayError(error_pb2.ERROR_REASON_UPSTREAM_FAILED, "Failed.")
    with pytest.raises(GatewayError):
        await port.suspend_card(card.SuspendCardRequest(card_id="h"), call)

    assert [card_id for _, card_id in noted] == ["card-made", "a", "b", "c", "d", "d", "e", "f"]
    assert {issuer_id for issuer_id, _ in noted} == {ISSUER}
    assert len(cards.asked) == 8


def test_a_note_tells_when_it_is_stored_and_when_that_has_failed() -> None:
    async def story(world: World) -> None:
        async with world.serving() as gateway:
            await gateway.notes.note(ISSUER, "card-1")
            assert await world.records.refused_keys(ISSUER) == ["backfill.card.ISSUER0001.card-1"]
            # What comes while others are stored waits for its own turn.
            await asyncio.gather(*(gateway.notes.note(ISSUER, f"card-{number}") for number in range(2, 5)))
            assert len(await world.records.refused_keys(ISSUER)) == 4
            world.store.fail()
            async with asyncio.timeout(1):
                await gateway.notes.note(ISSUER, "card-5")
            world.store.recover()
            await asyncio.sleep(5)
            assert len(await world.records.refused_keys(ISSUER)) == 5

    played(story)
