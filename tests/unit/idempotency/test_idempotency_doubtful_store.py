"""A store that fails and yet stores, at once or later, as a shared one may.

Nothing is made twice, and no marker of a call that was given up keeps another gateway from that call.
"""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from gateway.errors import ErrorOutcome
from gateway.idempotency.cleanup import StaleMarkerCleaner
from gateway.idempotency.replies import IdempotencyStore
from gateway.idempotency.requests import MutatingRpc
from issuer.common.v1 import error_pb2
from tests.unit.http.virtual_time import in_virtual_time
from tests.unit.idempotency.doubtful_store import DoubtfulStore
from tests.unit.idempotency.idempotency_calls import (
    CREATE,
    IN_FLIGHT,
    LEASE_SECONDS,
    LOST,
    NOT_STORED,
    REGISTER,
    REUSED,
    Upstream,
    ask,
    error_of,
    failure,
    failure_of,
    first,
    instance,
    replay,
)

MAX_MARKERS = 10_000


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


async def give_up(
    store: DoubtfulStore, replies: IdempotencyStore, upstream: Upstream, *, rpc: MutatingRpc = CREATE
) -> None:
    """Let a call fail whose marker stands all the same."""
    store.is_in_doubt = True
    assert await failure_of(ask(replies, upstream, rpc=rpc)) == NOT_STORED
    store.is_in_doubt = False


@pytest.mark.parametrize("rpc", [CREATE, REGISTER])
async def test_a_call_that_was_not_made_is_made_when_it_is_repeated_though_its_marker_stands(
    store: DoubtfulStore, replies: IdempotencyStore, upstream: Upstream, rpc: MutatingRpc
) -> None:
    store.is_in_doubt = True
    for _ in range(3):
        assert await failure_of(ask(replies, upstream, rpc=rpc)) == NOT_STORED
    store.is_in_doubt = False

    assert await ask(replies, upstream, rpc=rpc) == first()
    assert await ask(replies, upstream, rpc=rpc) == replay()


async def test_a_marker_that_was_taken_over_counts_if_its_call_ends_without_a_record(
    store: DoubtfulStore, replies: IdempotencyStore, upstream: Upstream
) -> None:
    await give_up(store, replies, upstream)

    await upstream.lose(ask(replies, upstream))

    assert await failure_of(ask(replies, upstream)) == LOST
    assert upstream.calls == 1


async def test_the_id_of_a_call_that_was_not_made_is_free_for_a_different_request(
    store: DoubtfulStore, replies: IdempotencyStore, upstream: Upstream
) -> None:
    await give_up(store, replies, upstream)

    assert await ask(replies, upstream, content=b"b") == first()
    assert await failure_of(ask(replies, upstream)) == REUSED


async def test_when_the_store_works_again_a_marker_is_removed_and_again_when_it_arrives_late(
    store: DoubtfulStore, replies: IdempotencyStore, other: IdempotencyStore, upstream: Upstream
) -> None:
    store.is_late = True
    assert await failure_of(ask(replies, upstream)) == NOT_STORED
    store.fail()
    await store.tried(2)
    store.recover()
    await store.tried(1)
    store.may_delete.clear()
    await store.arrive()
    assert await failure_of(ask(other, upstream)) == IN_FLIGHT

    store.may_delete.set()
    await store.tried(1)

    assert await ask(other, upstream) == first()
    assert await ask(replies, upstream) == replay()


async def test_what_another_gateway_has_put_in_its_place_stays(
    store: DoubtfulStore, replies: IdempotencyStore, other: IdempotencyStore, upstream: Upstream
) -> None:
    await give_up(store, replies, upstream, rpc=REGISTER)
    store.now += LEASE_SECONDS
    taken_over = await upstream.hold(ask(other, upstream, rpc=REGISTER))

    await store.tried(2)
    assert await failure_of(ask(replies, upstream, rpc=REGISTER)) == IN_FLIGHT, "its marker stands"
    upstream.released.set()
    await taken_over
    await store.tried(1)

    assert await ask(replies, upstream, rpc=REGISTER) == replay()
    assert upstream.calls == 1


async def test_the_marker_of_a_repeat_that_runs_stays(
    store: DoubtfulStore, replies: IdempotencyStore, other: IdempotencyStore, upstream: Upstream
) -> None:
    await give_up(store, replies, upstream)
    repeat = await upstream.hold(ask(replies, upstream))

    await store.tried(2)

    assert await failure_of(ask(other, upstream)) == IN_FLIGHT
    upstream.released.set()
    assert await repeat == first()
    assert await ask(other, upstream) == replay()


@pytest.mark.parametrize("outcome", [error_pb2.ERROR_OUTCOME_NOT_SENT, error_pb2.ERROR_OUTCOME_REJECTED])
async def test_where_the_store_fails_after_a_call_that_changed_nothing_its_id_is_free_all_the_same(
    store: DoubtfulStore, replies: IdempotencyStore, other: IdempotencyStore, upstream: Upstream, outcome: ErrorOutcome
) -> None:
    for here, repeats in ((replies, 0), (replies, 2)):
        upstream.failure = failure(outcome)
        calling = await upstream.hold(ask(here, upstream))
        store.fail()
        upstream.released.set()
        assert await error_of(calling) is upstream.failure
        store.recover()
        await store.tried(repeats)

    upstream.failure = None
    assert await ask(other, upstream) == first("card-3")


async def test_a_call_that_outlived_its_lease_and_changed_nothing_leaves_what_took_its_place(
    store: DoubtfulStore, replies: IdempotencyStore, other: IdempotencyStore, upstream: Upstream
) -> None:
    outliving = Upstream()
    outliving.failure = failure(error_pb2.ERROR_OUTCOME_REJECTED)
    calling = await outliving.hold(ask(replies, outliving, rpc=REGISTER))
    store.now += LEASE_SECONDS
    assert await ask(other, upstream, rpc=REGISTER) == first()

    outliving.released.set()
    assert await error_of(calling) is outliving.failure

    assert await ask(replies, upstream, rpc=REGISTER) == replay()


async def test_at_its_end_a_gateway_removes_what_it_has_not_removed_yet(
    store: DoubtfulStore, other: IdempotencyStore, upstream: Upstream
) -> None:
    ending = instance(store)
    await give_up(store, ending, upstream)

    await ending.aclose()

    assert await ask(other, upstream) == first()


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
    for number in range(MAX_MARKERS + 1):
        void.add("name", b"%d" % number)
    try:
        known = [number for number in range(MAX_MARKERS + 1) if b"%d" % number in void]
        assert known == [*range(1, MAX_MARKERS + 1)]
    finally:
        await void.aclose()


def test_a_stale_marker_is_removed_again_and_again_at_pauses_that_double_for_17_minutes() -> None:
    store = DoubtfulStore()

    async def clean() -> None:
        cleaner = StaleMarkerCleaner(store)
        cleaner.add("entry", b"marker")
        await asyncio.sleep(1100.0)
        assert b"marker" not in cleaner

    in_virtual_time(clean())

    pauses = [later - earlier for earlier, later in pairwise(store.deletion_times)]
    assert pauses == pytest.approx([0.25 * 2**number for number in range(12)])
