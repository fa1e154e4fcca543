"""The contract of `gateway.ports.EventLog`: cursors of named subscriptions."""

import asyncio

import pytest

from gateway.ports import EventLog, StoredSubscription
from tests.conformance.storage_engines import ISSUER, StorageEngine, an_event, append_all, read_all


@pytest.mark.parametrize("place", [0, 7])
async def test_a_first_commit_makes_the_subscription_anywhere(log: EventLog, place: int) -> None:
    assert await log.get_subscription(ISSUER, "fraud") is None

    committed = await log.commit(ISSUER, "fraud", place, 1_000)

    assert committed == StoredSubscription(ISSUER, "fraud", place, 1_000)
    assert await log.get_subscription(ISSUER, "fraud") == committed
    assert await log.get_subscription("ISSUER0002", "fraud") is None


async def test_of_those_that_create_a_subscription_at_the_same_time_one_does(log: EventLog) -> None:
    places = (3, 9, 1, 7, 5)

    created = await asyncio.gather(*(log.create_subscription(ISSUER, "fraud", place, 1_000) for place in places))

    (place,) = (each for each, is_created in zip(places, created, strict=True) if is_created)
    assert await log.get_subscription(ISSUER, "fraud") == StoredSubscription(ISSUER, "fraud", place, 1_000)
    assert not await log.create_subscription(ISSUER, "fraud", 10, 2_000)
    assert await log.get_subscription(ISSUER, "fraud") == StoredSubscription(ISSUER, "fraud", place, 1_000)


async def test_a_cursor_only_moves_forward(log: EventLog) -> None:
    await log.commit(ISSUER, "fraud", 7, 1_000)

    assert await log.commit(ISSUER, "fraud", 9, 2_000) == StoredSubscription(ISSUER, "fraud", 9, 2_000)
    assert await log.commit(ISSUER, "fraud", 8, 3_000) == StoredSubscription(ISSUER, "fraud", 9, 2_000)
    assert await log.commit(ISSUER, "fraud", 9, 4_000) == StoredSubscription(ISSUER, "fraud", 9, 2_000)

    assert await log.get_subscription(ISSUER, "fraud") == StoredSubscription(ISSUER, "fraud", 9, 2_000)


async def test_commits_at_the_same_time_leave_the_furthest(log: EventLog) -> None:
    answers = await asyncio.gather(*(log.commit(ISSUER, "fraud", place, 1_000) for place in (3, 9, 1, 7, 5)))

    assert all(answer.committed >= place for answer, place in zip(answers, (3, 9, 1, 7, 5), strict=True))
    assert (await log.get_subscription(ISSUER, "fraud")) == StoredSubscription(ISSUER, "fraud", 9, 1_000)


async def test_the_subscriptions_of_an_issuer_are_listed_by_name(log: EventLog) -> None:
    for name in ("risk", "fraud", "a.b", "A"):
        await log.commit(ISSUER, name, 1, 1_000)
    await log.commit("ISSUER0002", "other", 1, 1_000)

    assert [each.name for each in await log.list_subscriptions(ISSUER)] == ["A", "a.b", "fraud", "risk"]
    assert [each.name for each in await log.list_subscriptions("ISSUER0002")] == ["other"]
    assert list(await log.list_subscriptions("ISSUER0003")) == []
    assert [each.name for each in await log.list_subscriptions()] == ["A", "a.b", "fraud", "risk", "other"]


async def test_subscriptions_are_listed_in_pieces_after_a_name_that_need_not_exist(log: EventLog) -> None:
    names = ["A", "a.b", "a.c", "fraud", "risk", "z" * 64]
    for name in reversed(names):
        await log.commit(ISSUER, name, 1, 1_000)
    await log.commit("ISSUER0002", "b", 1, 1_000)

    async def piece(after: str, limit: int | None) -> list[str]:
        return [each.name for each in await log.list_subscriptions(ISSUER, after=after, limit=limit)]

    assert await piece("", 2) == names[:2]
    assert await piece("a.b", 2) == names[2:4]
    assert await piece("a.bc", 2) == names[2:4]
    assert await piece("fraud", 2) == names[4:]
    assert await piece("fraud", 100) == names[4:]
    assert await piece("fraud", None) == names[4:]
    assert await piece("z" * 64, 2) == []
    assert await piece("\ufffd", 2) == []


async def test_a_subscription_that_was_deleted_is_gone_and_may_begin_again_anywhere(log: EventLog) -> None:
    await log.commit(ISSUER, "fraud", 7, 1_000)

    assert await log.delete_subscription(ISSUER, "fraud")
    assert not await log.delete_subscription(ISSUER, "fraud")

    assert await log.get_subscription(ISSUER, "fraud") is None
    assert list(await log.list_subscriptions(ISSUER)) == []
    assert (await log.commit(ISSUER, "fraud", 3, 2_000)).committed == 3


async def test_cursors_are_there_after_the_log_was_opened_again(storage_engine: StorageEngine) -> None:
    async with storage_engine.opened() as storage:
        await append_all(storage.log, [an_event(number) for number in range(7)])
        await storage.log.commit(ISSUER, "fraud", 7, 1_000)

    async with storage_engine.opened() as storage:
        assert await storage.log.get_subscription(ISSUER, "fraud") == StoredSubscription(ISSUER, "fraud", 7, 1_000)
        assert (await storage.log.commit(ISSUER, "fraud", 6, 2_000)).committed == 7


async def test_gateways_that_share_a_cursor_never_move_it_back(shared_engine: StorageEngine) -> None:
    async with shared_engine.opened() as one, shared_engine.opened() as other:
        await one.log.commit(ISSUER, "fraud", 5, 1_000)
        await other.log.commit(ISSUER, "fraud", 9, 2_000)

        assert (await one.log.commit(ISSUER, "fraud", 7, 3_000)).committed == 9
        assert (await one.log.get_subscription(ISSUER, "fraud")) == StoredSubscription(ISSUER, "fraud", 9, 2_000)

        places = range(10, 60)
        committed = (
            (one if place % 2 else other).log.commit(ISSUER, "fraud", place, 4_000) for place in reversed(places)
        )
        await asyncio.gather(*committed)
        assert (await one.log.get_subscription(ISSUER, "fraud")) == StoredSubscription(ISSUER, "fraud", 59, 4_000)


async def test_a_cursor_that_another_gateway_deleted_is_not_remembered(shared_engine: StorageEngine) -> None:
    async with shared_engine.opened() as one, shared_engine.opened() as other:
        await one.log.commit(ISSUER, "fraud", 9, 1_000)
        await other.log.delete_subscription(ISSUER, "fraud")

        assert await one.log.commit(ISSUER, "fraud", 3, 2_000) == StoredSubscription(ISSUER, "fraud", 3, 2_000)
        await other.log.delete_subscription(ISSUER, "fraud")
        assert await one.log.commit(ISSUER, "fraud", 4, 3_000) == StoredSubscription(ISSUER, "fraud", 4, 3_000)


async def test_a_new_epoch_keeps_notifications_and_cursors_and_outlasts_a_restart(
    storage_engine: StorageEngine,
) -> None:
    async with storage_engine.opened() as storage:
        log, former = storage.log, storage.log.log_id
        await append_all(log, [an_event(number) for number in range(5)])
        committed = await log.commit(ISSUER, "fraud", 3, 1_000)
        stored = await read_all(log)

        renewed = await storage.renew_epoch()

        assert renewed != former
        assert log.log_id == renewed
        assert await read_all(log) == stored
        assert await log.append(an_event(5))
    async with storage_engine.opened() as storage:
        assert storage.log.log_id == renewed
        assert await storage.log.get_subscription(ISSUER, "fraud") == committed
        assert await storage.renew_epoch() not in {former, renewed}
