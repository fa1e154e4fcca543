"""A store that fails and yet stores, at once or later, as one that is shared may: nothing is made twice."""

import asyncio

import pytest

from gateway.errors import GatewayError
from gateway.idempotency.first_replies import FirstReplies, Reply
from gateway.idempotency.requests import MutatingRpc
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import error_pb2
from tests.fakes import FakeKeyValueStore
from tests.unit.idempotency.idempotency_calls import CREATE, REGISTER, Upstream, ask, instance

NOT_STORED = ("STORE_UNAVAILABLE", "NOT_SENT")
IN_FLIGHT = ("REQUEST_IN_FLIGHT", "NOT_SENT")
REUSED = ("REQUEST_ID_REUSED", "NOT_SENT")
LOST = ("UPSTREAM_NO_ANSWER", "UNKNOWN")


class DoubtfulStore(FakeKeyValueStore):
    """Says that it cannot store markers, but does: while it is in doubt at once, while it is late when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_in_doubt = False
        self.is_late = False
        self._late: list[tuple[str, bytes, float]] = []

    async def put_if_absent(self, key: str, value: bytes, ttl_seconds: float) -> bytes | None:
        if self.is_late:
            self._late.append((key, value, ttl_seconds))
            raise _unavailable()
        standing = await super().put_if_absent(key, value, ttl_seconds)
        if self.is_in_doubt:
            raise _unavailable()
        return standing

    async def arrive(self) -> None:
        """Store what is late, and be late no longer."""
        self.is_late = False
        for key, value, ttl_seconds in self._late:
            await super().put_if_absent(key, value, ttl_seconds)


def _unavailable() -> GatewayError:
    return GatewayError(error_pb2.ERROR_REASON_STORE_UNAVAILABLE, "No answer.", outcome=error_pb2.OUTCOME_REJECTED)


@pytest.fixture
def store() -> DoubtfulStore:
    return DoubtfulStore()


@pytest.fixture
def replies(store: DoubtfulStore) -> FirstReplies:
    return instance(store)


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


def replied(card_id: str, *, is_replay: bool) -> Reply:
    return Reply(card.CreateCardResponse(card_id=card_id), is_replay=is_replay)


async def told(
    replies: FirstReplies, upstream: Upstream, *, rpc: MutatingRpc = CREATE, content: bytes = b"a"
) -> tuple[str, str]:
    with pytest.raises(GatewayError) as caught:
        await ask(replies, upstream, rpc=rpc, content=content)
    return caught.value.reason_name, caught.value.outcome_name


@pytest.mark.parametrize("rpc", [CREATE, REGISTER])
async def test_a_call_that_was_not_made_is_made_when_it_is_repeated_though_its_marker_stands(
    store: DoubtfulStore, replies: FirstReplies, upstream: Upstream, rpc: MutatingRpc
) -> None:
    store.is_in_doubt = True
    for _ in range(3):
        assert await told(replies, upstream, rpc=rpc) == NOT_STORED
    store.is_in_doubt = False

    assert await ask(replies, upstream, rpc=rpc) == replied("card-1", is_replay=False)
    assert await ask(replies, upstream, rpc=rpc) == replied("card-1", is_replay=True)


async def test_markers_that_arrive_late_keep_nobody_from_making_the_call_once(
    store: DoubtfulStore, replies: FirstReplies, upstream: Upstream
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
    store: DoubtfulStore, replies: FirstReplies, upstream: Upstream
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


async def test_a_different_request_under_the_id_is_refused_all_the_same(
    store: DoubtfulStore, replies: FirstReplies, upstream: Upstream
) -> None:
    store.is_in_doubt = True
    assert await told(replies, upstream) == NOT_STORED
    store.is_in_doubt = False

    assert await told(replies, upstream, content=b"b") == REUSED
    assert await ask(replies, upstream) == replied("card-1", is_replay=False)


async def test_another_gateway_does_not_know_that_the_call_was_not_made(
    store: DoubtfulStore, replies: FirstReplies, upstream: Upstream
) -> None:
    store.is_in_doubt = True
    assert await told(replies, upstream) == NOT_STORED
    store.is_in_doubt = False

    other = instance(store)
    assert await told(other, upstream) == IN_FLIGHT
    # It is no use to wait for it there: the first one makes it.
    assert await ask(replies, upstream) == replied("card-1", is_replay=False)
    assert await ask(other, upstream) == replied("card-1", is_replay=True)
