"""What a gateway has given up keeps no other gateway from its calls; and nothing else is removed."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import GatewayError, Outcome
from gateway.idempotency.cleanup import StaleMarkerCleaner
from gateway.idempotency.replies import IdempotencyStore, Reply
from gateway.idempotency.requests import MutatingRpc
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import error_pb2
from tests.unit.idempotency.doubtful_store import DoubtfulStore
from tests.unit.idempotency.idempotency_calls import (
    CREATE,
    LEASE_SECONDS,
    REGISTER,
    Upstream,
    ask,
    failure,
    instance,
)

NOT_STORED = ("STORE_UNAVAILABLE", "NOT_SENT")
IN_FLIGHT = ("REQUEST_IN_FLIGHT", "NOT_SENT")
MOST = 10_000


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


@pytest.fixture
def store() -> DoubtfulStore:
    return DoubtfulStore()


@pytest.fixture
async def replies(store: DoubtfulStore) -> AsyncIterator[IdempotencyStore]:
    replies = instance(store)
    yield replies
    await replies.aclose()


@pytest.fixture
async def other(store: DoubtfulStore) -> AsyncIterator[IdempotencyStore]:
    """Another gateway."""
    other = instance(store)
    yield other
    await other.aclose()


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


def replied(card_id: str, *, is_replay: bool) -> Reply:
    return Reply(card.CreateCardResponse(card_id=card_id), is_replay=is_replay)


async def told(replies: IdempotencyStore, upstream: Upstream, *, rpc: MutatingRpc = CREATE) -> tuple[str, str]:
    with pytest.raises(GatewayError) as caught:
        await ask(replies, upstream, rpc=rpc)
    return caught.value.reason_name, caught.value.outcome_name


async def give_up(
    store: DoubtfulStore, replies: IdempotencyStore, upstream: Upstream, *, rpc: MutatingRpc = CREATE
) -> None:
    """Let a call fail whose marker stands all the same."""
    store.is_in_doubt = True
    assert await told(replies, upstream, rpc=rpc) == NOT_STORED
    store.is_in_doubt = False


async def test_another_gateway_makes_the_call_as_soon_as_the_marker_is_removed(
    store: DoubtfulStore, replies: IdempotencyStore, other: IdempotencyStore, upstream: Upstream
) -> None:
    store.may_delete.clear()
    await give_up(store, replies, upstream)
    assert await told(other, upstream) == IN_FLIGHT

    store.may_delete.set()
    await store.tried(1)

    assert await ask(other, upstream) == replied("card-1", is_replay=False)
    assert await ask(replies, upstream) == replied("card-1", is_replay=True)


async def test_a_marker_is_removed_when_the_store_works_again(
    store: DoubtfulStore, replies: IdempotencyStore, other: IdempotencyStore, upstream: Upstream
) -> None:
    await give_up(store, replies, upstream)
    store.fail()
    await store.tried(3)
    store.recover()

    await store.tried(1)

    assert await ask(other, upstream) == replied("card-1", is_replay=False)


async def test_a_marker_that_arrives_after_it_was_removed_is_removed_again(
    store: DoubtfulStore, replies: IdempotencyStore, other: IdempotencyStore, upstream: Upstream
) -> None:
    store.is_late = True
    assert await told(replies, upstream) == NOT_STORED
    await store.tried(2)
    store.may_delete.clear()
    await store.arrive()
    assert await told(other, upstream) == IN_FLIGHT

    store.may_delete.set()
    await store.tried(1)

    assert await ask(other, upstream) == replied("card-1", is_replay=False)


async def test_what_another_gateway_has_put_in_its_place_stays(
    store: DoubtfulStore, replies: IdempotencyStore, other: IdempotencyStore, upstream: Upstream
) -> None:
    await give_up(store, replies, upstream, rpc=REGISTER)
    store.now += LEASE_SECONDS
    upstream.released.clear()
    taken_over = asyncio.create_task(ask(other, upstream, rpc=REGISTER))
    await upstream.reached.wait()

    await store.tried(2)
    assert await told(replies, upstream, rpc=REGISTER) == IN_FLIGHT, "its marker stands"
    upstream.released.set()
    await taken_over
    await store.tried(1)

    assert await ask(replies, upstream, rpc=REGISTER) == replied("card-1", is_replay=True)
    assert upstream.calls == 1


async def test_the_marker_of_a_repeat_that_runs_stays(
    store: DoubtfulStore, replies: IdempotencyStore, other: IdempotencyStore, upstream: Upstream
) -> None:
    await give_up(store, replies, upstream)
    upstream.released.clear()
    repeat = asyncio.create_task(ask(replies, upstream))
    await upstream.reached.wait()

    await store.tried(2)

    assert await told(other, upstream) == IN_FLIGHT
    upstream.released.set()
    assert await repeat == replied("card-1", is_replay=False)
    assert await ask(other, upstream) == replied("card-1", is_replay=True)


@pytest.mark.parametrize("outcome", [error_pb2.OUTCOME_NOT_SENT, error_pb2.OUTCOME_REJECTED])
async def test_where_the_store_fails_after_a_call_that_changed_nothing_its_id_is_free_all_the_same(
    store: DoubtfulStore, replies: IdempotencyStore, other: IdempotencyStore, upstream: Upstream, outcome: Outcome
) -> None:
    for here, repeats in ((replies, 0), (replies, 2)):
        upstream.failure = failure(outcome)
        upstream.released.clear()
        upstream.reached.clear()
        calling = asyncio.create_task(ask(here, upstream))
        await upstream.reached.wait()
        store.fail()
        upstream.released.set()
        with pytest.raises(GatewayError) as caught:
            await calling
        assert caught.value is upstream.failure
        store.recover()
        await store.tried(repeats)

    upstream.failure = None
    assert await ask(other, upstream) == replied("card-3", is_replay=False)


async def test_a_call_that_outlived_its_lease_and_changed_nothing_leaves_what_took_its_place(
    store: DoubtfulStore, replies: IdempotencyStore, other: IdempotencyStore, upstream: Upstream
) -> None:
    outliving = Upstream()
    outliving.failure = failure(error_pb2.OUTCOME_REJECTED)
    outliving.released.clear()
    calling = asyncio.create_task(ask(replies, outliving, rpc=REGISTER))
    await outliving.reached.wait()
    store.now += LEASE_SECONDS
    assert await ask(other, upstream, rpc=REGISTER) == replied("card-1", is_replay=False)

    outliving.released.set()
    with pytest.raises(GatewayError):
        await calling

    assert await ask(replies, upstream, rpc=REGISTER) == replied("card-1", is_replay=True)


async def test_at_its_end_a_gateway_removes_what_it_has_not_removed_yet(
    store: DoubtfulStore, other: IdempotencyStore, upstream: Upstream
) -> None:
    ending = instance(store)
    await give_up(store, ending, upstream)

    await ending.aclose()

    assert await ask(other, upstream) == replied("card-1", is_replay=False)


async def test_a_store_that_fails_or_hangs_does_not_keep_a_gateway_from_its_end(upstream: Upstream) -> None:
    failing, hanging = DoubtfulStore(), DoubtfulStore()
    for store in (failing, hanging):
        ending = instance(store)
        await give_up(store, ending, upstream)
        failing.fail()
        hanging.may_delete.clear()
        async with asyncio.timeout(5):
            await ending.aclose()


async def test_only_so_many_are_known_at_a_time(store: DoubtfulStore) -> None:
    void = StaleMarkerCleaner(store)
    for number in range(MOST + 1):
        void.add("name", b"%d" % number)
    try:
        known = [number for number in range(MOST + 1) if b"%d" % number in void]
        assert known == [*range(1, MOST + 1)]
    finally:
        await void.aclose()
