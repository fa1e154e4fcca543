"""The contract of `gateway.ports.EventLog`: resets of subscriptions, and the fencing tokens that they make stale."""

import asyncio

import pytest

from gateway.ports import EventLog, StoredSubscription
from tests.conformance.storage_engines import ISSUER, StorageEngine, an_event, append_all


@pytest.mark.parametrize("place", [0, 3, 9])
async def test_a_reset_moves_a_cursor_back_and_forth(log: EventLog, place: int) -> None:
    await log.commit(ISSUER, "fraud", 7, 1_000)

    reset = await log.reset_subscription(ISSUER, "fraud", place, 2_000, 0)

    assert reset == StoredSubscription(ISSUER, "fraud", place, 2_000)
    assert await log.get_subscription(ISSUER, "fraud") == reset
    assert (await log.commit(ISSUER, "fraud", 10, 3_000)).committed == 10


async def test_a_reset_makes_the_subscription(log: EventLog) -> None:
    assert await log.reset_subscription(ISSUER, "fraud", 3, 1_000, 7) is None
    assert await log.get_subscription(ISSUER, "fraud") is None

    reset = await log.reset_subscription(ISSUER, "fraud", 3, 1_000, 0)

    assert reset == await log.get_subscription(ISSUER, "fraud") == StoredSubscription(ISSUER, "fraud", 3, 1_000)


async def test_a_watcher_that_becomes_active_is_recorded_unless_a_later_one_did_before(log: EventLog) -> None:
    assert await log.begin_watch(ISSUER, "fraud", 5) is None
    await log.commit(ISSUER, "fraud", 7, 1_000)

    for token, latest in ((5, 5), (9, 9), (6, 9), (9, 9)):
        assert await log.begin_watch(ISSUER, "fraud", token) == StoredSubscription(ISSUER, "fraud", 7, 1_000, latest)

    assert await log.get_subscription(ISSUER, "fraud") == StoredSubscription(ISSUER, "fraud", 7, 1_000, 9)


async def test_only_who_knows_the_latest_watcher_can_reset(log: EventLog) -> None:
    await log.commit(ISSUER, "fraud", 7, 1_000)
    await log.begin_watch(ISSUER, "fraud", 5)
    before = await log.begin_watch(ISSUER, "fraud", 9)

    for token in (0, 5, 8, 10, 2**64 - 1):
        assert await log.reset_subscription(ISSUER, "fraud", 3, 2_000, token) is None
    assert await log.get_subscription(ISSUER, "fraud") == before

    # Repeating it changes nothing more.
    for _ in range(2):
        reset = await log.reset_subscription(ISSUER, "fraud", 3, 2_000, 9)
        assert reset == StoredSubscription(ISSUER, "fraud", 3, 2_000, fencing_token=9, stale_through=9)


async def test_commits_of_watchers_from_before_a_reset_do_not_count(log: EventLog) -> None:
    await log.commit(ISSUER, "fraud", 7, 1_000)
    await log.begin_watch(ISSUER, "fraud", 9)
    assert (await log.commit(ISSUER, "fraud", 8, 1_000, 9)).committed == 8
    reset = await log.reset_subscription(ISSUER, "fraud", 3, 2_000, 9)
    assert reset is not None

    for token in (1, 8, 9):
        assert await log.commit(ISSUER, "fraud", 8, 3_000, token) == reset
        assert reset.is_stale(token)

    await log.begin_watch(ISSUER, "fraud", 10)
    assert (await log.commit(ISSUER, "fraud", 4, 4_000, 10)).committed == 4
    assert (await log.commit(ISSUER, "fraud", 8, 5_000, 9)).committed == 4
    # Without a token it is not checked.
    assert (await log.commit(ISSUER, "fraud", 5, 6_000)) == StoredSubscription(ISSUER, "fraud", 5, 6_000, 10, 9)


async def test_a_reset_and_a_watcher_that_begins_at_the_same_time_do_not_miss_each_other(log: EventLog) -> None:
    for round_ in range(20):
        name = f"fraud-{round_}"
        await log.commit(ISSUER, name, 7, 1_000)
        work = log.reset_subscription(ISSUER, name, 3, 2_000, 0), log.begin_watch(ISSUER, name, 5)
        # Either may be first.
        reset, begun = await asyncio.gather(*work) if round_ % 2 else reversed(await asyncio.gather(*reversed(work)))

        assert begun is not None
        assert begun.committed == (7 if reset is None else 3)
        assert (await log.commit(ISSUER, name, 8, 3_000, 5)).committed == 8


async def test_resets_are_there_after_the_log_was_opened_again(storage_engine: StorageEngine) -> None:
    async with storage_engine.opened() as storage:
        await append_all(storage.log, [an_event(number) for number in range(8)])
        await storage.log.commit(ISSUER, "fraud", 7, 1_000)
        await storage.log.begin_watch(ISSUER, "fraud", 9)
        reset = await storage.log.reset_subscription(ISSUER, "fraud", 3, 2_000, 9)

    async with storage_engine.opened() as storage:
        assert await storage.log.get_subscription(ISSUER, "fraud") == reset
        assert await storage.log.commit(ISSUER, "fraud", 8, 3_000, 9) == reset


async def test_what_a_gateway_remembers_of_a_cursor_does_not_undo_the_reset_at_another_one(
    shared_engine: StorageEngine,
) -> None:
    async with shared_engine.opened() as one, shared_engine.opened() as other:
        await one.log.commit(ISSUER, "fraud", 5, 1_000)
        await one.log.begin_watch(ISSUER, "fraud", 9)
        await one.log.commit(ISSUER, "fraud", 6, 1_000, 9)
        reset = await other.log.reset_subscription(ISSUER, "fraud", 3, 2_000, 9)
        assert reset is not None

        assert await one.log.commit(ISSUER, "fraud", 7, 3_000, 9) == reset
        assert await one.log.begin_watch(ISSUER, "fraud", 10) == reset.watched_with(10)
        assert await other.log.reset_subscription(ISSUER, "fraud", 0, 4_000, 9) is None
        assert (await one.log.commit(ISSUER, "fraud", 4, 5_000, 10)).committed == 4
