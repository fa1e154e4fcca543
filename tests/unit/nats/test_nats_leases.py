"""Leases at NATS, when its responses are lost or late."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from adapters.nats.leases.leases import NatsLeases
from adapters.nats.leases.session import END
from tests.unit.nats.fake_bucket import FakeBucket

ISSUER, NAME, LEASE = "ISSUER0001", "fraud", "lease.ISSUER0001.fraud"


@asynccontextmanager
async def a_gateway(bucket: FakeBucket) -> AsyncIterator[NatsLeases]:
    """Run a gateway with one watcher."""
    leases = NatsLeases(bucket, lambda: 0)
    await leases._own.renew()
    leases.set_watchers(ISSUER, NAME, 1)
    try:
        yield leases
    finally:
        await leases.close()


@pytest.fixture
async def leases(bucket: FakeBucket) -> AsyncIterator[NatsLeases]:
    async with a_gateway(bucket) as leases:
        yield leases


def holder(bucket: FakeBucket) -> str:
    return bucket.held[LEASE].value.decode().split(" ")[0]


async def settled(condition: Callable[[], bool]) -> None:
    for _ in range(50):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it has not come to that")


async def test_a_lease_that_was_taken_without_a_response_is_taken_again_by_its_gateway_alone(
    bucket: FakeBucket, leases: NatsLeases
) -> None:
    bucket.loses_responses = True
    assert await leases.acquire(ISSUER, NAME, pytest.fail) is None
    bucket.loses_responses = False
    async with a_gateway(bucket) as other:
        assert await other.acquire(ISSUER, NAME, pytest.fail) is None

    lease = await leases.acquire(ISSUER, NAME, pytest.fail)

    assert lease is not None
    assert lease.fencing_token == 2
    assert holder(bucket) == leases._own.session.session_id


async def test_a_lease_that_was_taken_without_a_response_is_released_when_the_watcher_leaves(
    bucket: FakeBucket, leases: NatsLeases
) -> None:
    bucket.loses_responses = True
    assert await leases.acquire(ISSUER, NAME, pytest.fail) is None
    bucket.loses_responses = False

    leases.set_watchers(ISSUER, NAME, 0)

    await settled(lambda: leases._subscriptions == {})
    assert holder(bucket) == "-"


@pytest.mark.parametrize("turns", range(6))
async def test_a_watcher_that_leaves_while_it_acquires_leaves_no_lease_held(
    bucket: FakeBucket, leases: NatsLeases, turns: int
) -> None:
    acquiring = asyncio.ensure_future(leases.acquire(ISSUER, NAME, pytest.fail))
    for _ in range(turns):
        await asyncio.sleep(0)

    acquiring.cancel()
    await asyncio.gather(acquiring, return_exceptions=True)
    leases.set_watchers(ISSUER, NAME, 0)

    await settled(lambda: leases._subscriptions == {})
    assert LEASE not in bucket.held or holder(bucket) == "-"


async def test_a_lease_is_not_taken_late_for_a_watcher_that_has_left(bucket: FakeBucket, leases: NatsLeases) -> None:
    bucket.holds_back = True
    assert await leases.acquire(ISSUER, NAME, pytest.fail) is None
    bucket.holds_back = False
    leases.set_watchers(ISSUER, NAME, 0)
    await settled(lambda: leases._subscriptions == {})

    bucket.let_through()

    assert holder(bucket) == "-"


async def test_a_lease_that_could_not_be_released_is_released_with_the_next_check(
    bucket: FakeBucket, leases: NatsLeases
) -> None:
    assert await leases.acquire(ISSUER, NAME, pytest.fail) is not None
    bucket.holds_back = True
    leases.set_watchers(ISSUER, NAME, 0)
    await settled(lambda: bool(bucket._late))
    assert holder(bucket) == leases._own.session.session_id
    (subscription,) = leases._subscriptions.values()
    bucket.let_through()

    await leases._release(subscription)

    assert holder(bucket) == "-"
    assert leases._subscriptions == {}


async def test_a_watcher_that_comes_while_the_lease_is_released_gets_it(bucket: FakeBucket, leases: NatsLeases) -> None:
    first = await leases.acquire(ISSUER, NAME, pytest.fail)
    assert first is not None
    leases.set_watchers(ISSUER, NAME, 0)
    await asyncio.sleep(0)
    leases.set_watchers(ISSUER, NAME, 1)

    second = await leases.acquire(ISSUER, NAME, pytest.fail)

    assert second is not None
    assert second.fencing_token > first.fencing_token
    await asyncio.sleep(0.01)
    assert second.is_held()
    assert holder(bucket) == leases._own.session.session_id
    assert leases.watchers(ISSUER) == {NAME: 1}


async def test_a_lease_that_is_granted_after_its_session_was_lost_is_none(
    bucket: FakeBucket, leases: NatsLeases
) -> None:
    def lose_session(key: str, value: bytes) -> None:
        del value
        if key == LEASE:
            leases._own.session.valid_until = 0.0

    bucket.before_put = lose_session

    assert await leases.acquire(ISSUER, NAME, pytest.fail) is None


async def test_a_gateway_that_closes_while_it_releases_a_lease_ends_its_session(
    bucket: FakeBucket, leases: NatsLeases
) -> None:
    assert await leases.acquire(ISSUER, NAME, pytest.fail) is not None
    leases.set_watchers(ISSUER, NAME, 0)
    assert leases._tasks

    await leases.close()

    assert not leases._tasks
    assert bucket.held[f"session.{leases._own.session.session_id}"].value == END
