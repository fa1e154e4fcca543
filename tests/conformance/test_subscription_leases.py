"""The contract of `gateway.ports.SubscriptionLeases`, for every engine."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.ports import SubscriptionLeases
from tests.conformance.lease_engines import Clock, NatsEngine, SqliteEngine, granted

ISSUER, OTHER_ISSUER, NAME = "ISSUER0001", "ISSUER0002", "Fraud.team-1_x"


@pytest.fixture(params=["sqlite", "nats"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> SqliteEngine | NatsEngine:
    if request.param == "sqlite":
        return SqliteEngine(tmp_path)
    return NatsEngine(request.getfixturevalue("nats_server"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def leases(engine: SqliteEngine | NatsEngine, clock: Clock) -> AsyncIterator[SubscriptionLeases]:
    """The leases of a gateway process."""
    async with engine.gateway(clock) as leases:
        yield leases


async def test_a_lease_is_held_for_as_long_as_there_is_a_watcher(leases: SubscriptionLeases) -> None:
    leases.set_watchers(ISSUER, NAME, 2)

    lease = await leases.acquire(ISSUER, NAME, pytest.fail)

    assert lease is not None
    assert lease.is_held()
    leases.set_watchers(ISSUER, NAME, 1)
    assert lease.is_held()
    leases.set_watchers(ISSUER, NAME, 0)
    assert not lease.is_held()


async def test_a_lease_is_taken_while_it_is_held(leases: SubscriptionLeases) -> None:
    assert not await leases.is_taken(ISSUER, NAME)
    leases.set_watchers(ISSUER, NAME, 1)
    assert not await leases.is_taken(ISSUER, NAME)
    await granted(leases, ISSUER, NAME)

    assert await leases.is_taken(ISSUER, NAME)
    assert not await leases.is_taken(OTHER_ISSUER, NAME)
    assert not await leases.is_taken(ISSUER, "another")

    leases.set_watchers(ISSUER, NAME, 0)
    assert not await leases.is_taken(ISSUER, NAME)


async def test_without_a_watcher_nothing_is_granted(leases: SubscriptionLeases) -> None:
    leases.set_watchers(ISSUER, "another", 1)
    leases.set_watchers(ISSUER, NAME, 1)
    leases.set_watchers(ISSUER, NAME, 0)

    assert await leases.acquire(ISSUER, NAME, pytest.fail) is None
    assert await leases.acquire(ISSUER, "never-watched", pytest.fail) is None


async def test_a_watcher_that_comes_after_the_last_one_left_is_granted_a_new_lease(leases: SubscriptionLeases) -> None:
    tokens = []
    for _ in range(5):
        leases.set_watchers(ISSUER, NAME, 1)
        tokens.append((await granted(leases, ISSUER, NAME)).fencing_token)
        leases.set_watchers(ISSUER, NAME, 0)

    assert tokens == sorted(set(tokens))


async def test_the_next_watcher_of_the_process_gets_a_lease_with_a_larger_token(leases: SubscriptionLeases) -> None:
    leases.set_watchers(ISSUER, NAME, 2)
    first = await granted(leases, ISSUER, NAME, pytest.fail)

    second = await granted(leases, ISSUER, NAME, pytest.fail)

    assert (first.is_held(), second.is_held()) == (False, True)
    assert second.fencing_token > first.fencing_token


async def test_who_leaves_while_acquiring_is_granted_nothing_and_hinders_nobody(leases: SubscriptionLeases) -> None:
    leases.set_watchers(ISSUER, NAME, 1)
    asking = asyncio.ensure_future(leases.acquire(ISSUER, NAME, pytest.fail))
    await asyncio.sleep(0)
    leases.set_watchers(ISSUER, NAME, 0)
    assert await asking is None

    leases.set_watchers(ISSUER, NAME, 1)
    asking = asyncio.ensure_future(leases.acquire(ISSUER, NAME, pytest.fail))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    leases.set_watchers(ISSUER, NAME, 0)
    leases.set_watchers(ISSUER, NAME, 1)
    assert (await granted(leases, ISSUER, NAME)).is_held()


async def test_fencing_tokens_grow_over_restarts_even_if_the_clock_goes_back(
    engine: SqliteEngine | NatsEngine, clock: Clock
) -> None:
    begin = clock.now_ms
    tokens = []
    for _ in range(3):
        async with engine.gateway(clock) as leases:
            leases.set_watchers(ISSUER, NAME, 1)
            tokens += [(await granted(leases, ISSUER, NAME)).fencing_token for _ in range(3)]
        clock.now_ms -= 60_000

    assert tokens == list(range(begin, begin + 9))


async def test_a_fencing_token_is_not_below_the_clock(leases: SubscriptionLeases, clock: Clock) -> None:
    leases.set_watchers(ISSUER, NAME, 1)
    first = await granted(leases, ISSUER, NAME)
    clock.now_ms += 60_000
    second = await granted(leases, ISSUER, NAME)

    # So tokens exceed the earlier ones of a log that was recreated or moved to another engine.
    assert (first.fencing_token, second.fencing_token) == (clock.now_ms - 60_000, clock.now_ms)


async def test_subscriptions_of_other_names_and_other_issuers_are_others(leases: SubscriptionLeases) -> None:
    subscriptions = [(ISSUER, NAME), (ISSUER, NAME.lower()), (OTHER_ISSUER, NAME), (ISSUER, "a.b"), (ISSUER, "a_b")]
    for subscription in subscriptions:
        leases.set_watchers(*subscription, 1)
    held = [await granted(leases, *subscription, pytest.fail) for subscription in subscriptions]

    leases.set_watchers(ISSUER, NAME, 0)

    assert [lease.is_held() for lease in held] == [False, True, True, True, True]


async def test_watchers_are_counted_by_issuer_and_name(leases: SubscriptionLeases) -> None:
    leases.set_watchers(ISSUER, NAME, 2)
    leases.set_watchers(ISSUER, "another", 1)
    leases.set_watchers(OTHER_ISSUER, NAME, 3)
    leases.set_watchers(ISSUER, "another", 0)

    assert leases.watchers(ISSUER) == {NAME: 2}
    assert leases.watchers(OTHER_ISSUER) == {NAME: 3}
    assert leases.watchers("ISSUER0003") == {}


async def test_the_lease_of_backfills_is_no_subscription_of_any_issuer(leases: SubscriptionLeases) -> None:
    leases.set_watchers(ISSUER, NAME, 1)
    await granted(leases, ISSUER, NAME)
    leases.set_watchers("", "$backfill", 1)
    lease = await granted(leases, "", "$backfill")

    assert await leases.is_taken("", "$backfill")
    assert leases.watchers(ISSUER) == {NAME: 1}
    leases.set_watchers("", "$backfill", 0)
    assert not lease.is_held()
