"""A store that fails and yet stores, at once or later, as one that is shared may: nothing is made twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import GatewayError
from gateway.idempotency.replies import IdempotencyStore, Reply
from gateway.idempotency.requests import MutatingRpc
from issuer.card.v1 import messages_pb2 as card
from tests.unit.idempotency.doubtful_store import DoubtfulStore
from tests.unit.idempotency.idempotency_calls import CREATE, REGISTER, Upstream, ask, instance

NOT_STORED = ("STORE_UNAVAILABLE", "NOT_SENT")
REUSED = ("REQUEST_ID_REUSED", "NOT_SENT")
LOST = ("UPSTREAM_NO_ANSWER", "UNKNOWN")


@pytest.fixture
def store() -> DoubtfulStore:
    return DoubtfulStore()


@pytest.fixture
async def replies(store: DoubtfulStore) -> AsyncIterator[IdempotencyStore]:
    replies = instance(store)
    yield replies
    await replies.aclose()


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


def replied(card_id: str, *, is_replay: bool) -> Reply:
    return Reply(card.CreateCardResponse(card_id=card_id), is_replay=is_replay)


async def told(
    replies: IdempotencyStore, upstream: Upstream, *, rpc: MutatingRpc = CREATE, content: bytes = b"a"
) -> tuple[str, str]:
    with pytest.raises(GatewayError) as caught:
        await ask(replies, upstream, rpc=rpc, content=content)
    return caught.value.reason_name, caught.value.outcome_name


@pytest.mark.parametrize("rpc", [CREATE, REGISTER])
async def test_a_call_that_was_not_made_is_made_when_it_is_repeated_though_its_marker_stands(
    store: DoubtfulStore, replies: IdempotencyStore, upstream: Upstream, rpc: MutatingRpc
) -> None:
    store.is_in_doubt = True
    for _ in range(3):
        assert await told(replies, upstream, rpc=rpc) == NOT_STORED
    store.is_in_doubt = False

    assert await ask(replies, upstream, rpc=rpc) == replied("card-1", is_replay=False)
    assert await ask(replies, upstream, rpc=rpc) == replied("card-1", is_replay=True)


async def test_markers_that_arrive_late_keep_nobody_from_making_the_call_once(
    store: DoubtfulStore, replies: IdempotencyStore, upstream: Upstream
) -> None:
    store.is_late = True
    for _ in range(3):
        assert await told(replies, upstream) == NOT_STORED
    await store.arrive()

    assert await ask(replies, upstream) == replied("card-1", is_replay=False)
    await store.arrive()
    assert await ask(replies, upstream) == replied("card-1", is_replay=True)
    assert upstream.calls == 1


async def test_a_marker_that_was_taken_over_counts_if_its_call_ends_without_a_record(
    store: DoubtfulStore, replies: IdempotencyStore, upstream: Upstream
) -> None:
    store.is_in_doubt = True
    assert await told(replies, upstream) == NOT_STORED
    store.is_in_doubt = False

    upstream.released.clear()
    calling = asyncio.create_task(ask(replies, upstream))
    await upstream.reached.wait()
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    upstream.released.set()

    assert await told(replies, upstream) == LOST
    assert upstream.calls == 1


async def test_the_id_of_a_call_that_was_not_made_is_free_for_a_different_request(
    store: DoubtfulStore, replies: IdempotencyStore, upstream: Upstream
) -> None:
    store.is_in_doubt = True
    assert await told(replies, upstream) == NOT_STORED
    store.is_in_doubt = False

    assert await ask(replies, upstream, content=b"b") == replied("card-1", is_replay=False)
    assert await told(replies, upstream, content=b"a") == REUSED
