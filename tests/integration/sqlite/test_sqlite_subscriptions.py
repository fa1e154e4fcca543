"""Named subscriptions and their cursors."""

import asyncio
from pathlib import Path

from adapters.sqlite import SqliteEventLog
from gateway.ports import StoredSubscription
from tests.integration.sqlite.sqlite_events import ISSUER, opened


async def test_a_subscription_is_made_once_and_begins_without_a_cursor(log: SqliteEventLog) -> None:
    assert await log.get_subscription(ISSUER, "watcher") is None

    made = await log.ensure_subscription(ISSUER, "watcher")

    assert made == StoredSubscription(ISSUER, "watcher", committed=None, commit_time_ms=None)
    assert await log.ensure_subscription(ISSUER, "watcher") == made
    assert await log.get_subscription(ISSUER, "watcher") == made
    assert list(await log.list_subscriptions(ISSUER)) == [made]


async def test_a_cursor_moves_forward_only(log: SqliteEventLog) -> None:
    assert (await log.commit(ISSUER, "watcher", 5, 100)).committed == 5
    assert await log.commit(ISSUER, "watcher", 9, 200) == StoredSubscription(ISSUER, "watcher", 9, 200)

    assert await log.commit(ISSUER, "watcher", 8, 300) == StoredSubscription(ISSUER, "watcher", 9, 200)
    assert await log.commit(ISSUER, "watcher", 9, 400) == StoredSubscription(ISSUER, "watcher", 9, 200)

    assert await log.get_subscription(ISSUER, "watcher") == StoredSubscription(ISSUER, "watcher", 9, 200)


async def test_the_first_commit_of_a_waiting_subscription_counts_even_at_zero(log: SqliteEventLog) -> None:
    await log.ensure_subscription(ISSUER, "watcher")

    assert await log.commit(ISSUER, "watcher", 0, 100) == StoredSubscription(ISSUER, "watcher", 0, 100)
    assert (await log.ensure_subscription(ISSUER, "watcher")).committed == 0


async def test_commits_that_arrive_together_leave_the_highest(log: SqliteEventLog) -> None:
    await asyncio.gather(*(log.commit(ISSUER, "watcher", sequence, 1) for sequence in (3, 50, 7, 49, 12)))

    standing = await log.get_subscription(ISSUER, "watcher")
    assert standing is not None
    assert standing.committed == 50


async def test_subscriptions_are_listed_by_name_and_by_issuer(log: SqliteEventLog) -> None:
    for name in ("b", "a", "c"):
        await log.ensure_subscription(ISSUER, name)
    await log.ensure_subscription("issuer0002", "a")

    assert [each.name for each in await log.list_subscriptions(ISSUER)] == ["a", "b", "c"]
    assert [each.name for each in await log.list_subscriptions("issuer0002")] == ["a"]
    assert list(await log.list_subscriptions("issuer0003")) == []


async def test_a_deleted_subscription_is_forgotten_with_its_cursor(log: SqliteEventLog) -> None:
    await log.commit(ISSUER, "watcher", 5, 100)

    assert await log.delete_subscription(ISSUER, "watcher")

    assert await log.get_subscription(ISSUER, "watcher") is None
    assert not await log.delete_subscription(ISSUER, "watcher")
    assert (await log.ensure_subscription(ISSUER, "watcher")).committed is None


async def test_cursors_survive_a_restart(path: Path) -> None:
    async with opened(path) as log:
        await log.commit(ISSUER, "watcher", 5, 100)

    async with opened(path) as log:
        assert await log.get_subscription(ISSUER, "watcher") == StoredSubscription(ISSUER, "watcher", 5, 100)
