"""What a repeated call gets: the first reply, the recorded failure, or a call that is made again.

``test_idempotency_model.py`` mixes calls, failures, deaths and time, and the contract tests repeat each rpc; here is
what they do not look at.
"""

import asyncio
from math import ceil

import pytest

from gateway.errors import ErrorOutcome, GatewayError
from gateway.idempotency.replies import TTL_SECONDS, IdempotencyStore, Reply
from issuer.common.v1 import error_pb2
from tests.fakes import FakeKeyValueStore
from tests.unit.idempotency.idempotency_calls import (
    ID,
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


async def test_of_calls_through_many_instances_at_once_one_is_made(
    store: FakeKeyValueStore, upstream: Upstream
) -> None:
    instances = [instance(store) for _ in range(20)]
    calls = [asyncio.create_task(ask(each, upstream)) for each in instances for _ in range(5)]
    ends = await asyncio.gather(*calls, return_exceptions=True)

    assert upstream.calls == 1
    assert [end for end in ends if isinstance(end, Reply) and not end.is_replay] == [first()]
    others = [end for end in ends if isinstance(end, GatewayError)]
    assert {error.reason_name for error in others} == {"REQUEST_IN_FLIGHT"}
    assert [await ask(each, upstream) for each in instances] == [replay()] * 20


async def test_a_call_whose_outcome_is_not_known_is_told_again_and_not_made_again(
    store: FakeKeyValueStore, replies: IdempotencyStore, upstream: Upstream
) -> None:
    upstream.failure = failure(error_pb2.ERROR_OUTCOME_UNKNOWN)
    assert await error_of(ask(replies, upstream)) is upstream.failure
    upstream.failure = None
    for each in (replies, instance(store)):
        again = await error_of(ask(each, upstream))
        assert (again.reason_name, again.outcome_name) == ("UPSTREAM_FAILED", "UNKNOWN")
        assert again.message.startswith("D1 failed. It was not sent again. Find out")
        assert again.metadata == {"upstream": "d1", "upstream_status": "500", "idempotent_replay": "true"}
        assert again.retry_after_seconds is None
        assert await failure_of(ask(each, upstream, content=b"b")) == REUSED
    assert upstream.calls == 1
    store.now += TTL_SECONDS
    assert await ask(replies, upstream) == first("card-2")


async def test_a_fault_of_ours_counts_as_an_unknown_outcome(replies: IdempotencyStore, upstream: Upstream) -> None:
    upstream.failure = ZeroDivisionError("4970101234567890")
    with pytest.raises(ZeroDivisionError):
        await ask(replies, upstream)
    upstream.failure = None
    again = await error_of(ask(replies, upstream))
    assert (again.reason_name, again.outcome_name) == ("INTERNAL", "UNKNOWN")
    assert "4970" not in again.message
    assert upstream.calls == 1


@pytest.mark.parametrize(
    ("is_shared", "pauses"),
    [(False, [15, 14.5, 11, 1]), (True, [1, 1, 4, 1])],
    ids=["the only gateway", "one of several"],
)
async def test_a_repeat_of_a_call_whose_gateway_may_have_died_is_told_when_to_come_again(
    store: FakeKeyValueStore, upstream: Upstream, *, is_shared: bool, pauses: list[float]
) -> None:
    dead, living = (instance(store, is_shared=is_shared) for _ in range(2))
    await upstream.lose(ask(dead, upstream))
    began = store.now
    for age, pause in zip((0, 0.5, 4, 14), pauses, strict=True):
        store.now = began + age
        error = await error_of(ask(living, upstream))
        assert ((error.reason_name, error.outcome_name), error.retry_after_seconds) == (IN_FLIGHT, pause)
        assert f"certain in {ceil(LEASE_SECONDS - age)} s" in error.message
    store.now = began + LEASE_SECONDS
    assert await failure_of(ask(living, upstream)) == LOST


async def test_an_instance_knows_at_once_that_a_call_of_its_own_was_cut_off(
    replies: IdempotencyStore, upstream: Upstream
) -> None:
    await upstream.lose(ask(replies, upstream))

    error = await error_of(ask(replies, upstream))
    assert ((error.reason_name, error.outcome_name), error.metadata) == (LOST, {"idempotent_replay": "true"})
    assert await failure_of(ask(replies, upstream, content=b"b")) == REUSED
    assert upstream.calls == 1


async def test_after_a_day_the_id_is_forgotten(
    store: FakeKeyValueStore, replies: IdempotencyStore, upstream: Upstream
) -> None:
    await ask(replies, upstream)
    store.now += 24 * 3600 - 1
    assert await ask(replies, upstream) == replay()
    store.now += 1
    assert await ask(replies, upstream, content=b"b") == first("card-2")


async def test_nothing_is_sent_while_the_store_cannot_be_used(
    store: FakeKeyValueStore, replies: IdempotencyStore, upstream: Upstream
) -> None:
    store.fail()
    error = await error_of(ask(replies, upstream))
    assert (error.reason_name, error.outcome_name) == NOT_STORED
    assert error.retry_after_seconds == 1.0
    assert upstream.calls == 0
    store.recover()
    assert await ask(replies, upstream) == first()


@pytest.mark.parametrize("outcome", [None, error_pb2.ERROR_OUTCOME_UNKNOWN])
async def test_where_the_store_fails_after_the_call_its_caller_is_told_the_truth_and_the_next_one_that_it_is_not_known(
    store: FakeKeyValueStore,
    replies: IdempotencyStore,
    upstream: Upstream,
    outcome: "ErrorOutcome | None",
) -> None:
    upstream.failure = None if outcome is None else failure(outcome)
    task = await upstream.hold(ask(replies, upstream))
    store.fail()
    upstream.released.set()
    if outcome is None:
        assert await task == first()
    else:
        assert await error_of(task) is upstream.failure
    store.recover()
    assert await failure_of(ask(replies, upstream)) == LOST
    assert upstream.calls == 1


async def test_what_cannot_be_read_any_more_counts_as_an_unknown_outcome(
    store: FakeKeyValueStore, replies: IdempotencyStore, upstream: Upstream
) -> None:
    await ask(replies, upstream)
    await ask(replies, upstream, rpc=REGISTER)
    for name in [*store._held]:
        await store.put(name, b"damaged", TTL_SECONDS)
    assert await failure_of(ask(replies, upstream)) == LOST
    assert await ask(replies, upstream, rpc=REGISTER) == first("card-3")


async def test_the_store_sees_neither_the_request_nor_the_reply_nor_who_asked(
    store: FakeKeyValueStore, replies: IdempotencyStore, upstream: Upstream
) -> None:
    await ask(replies, upstream, content=b"4970101234567890")
    held = b"".join(name.encode() + value for name, (value, _) in store._held.items())
    assert len(store._held) == 1
    for secret in (b"4970101234567890", b"card-1", b"caller", b"ISSUER0001", ID.encode()):
        assert secret not in held


async def test_what_became_of_each_request_is_counted_once(store: FakeKeyValueStore, upstream: Upstream) -> None:
    outcomes: list[str] = []
    replies = instance(store, on_outcome=outcomes.append)

    async def counted(request_id: str, content: bytes = b"a") -> list[str]:
        outcomes.clear()
        await asyncio.gather(ask(replies, upstream, request_id=request_id, content=content), return_exceptions=True)
        return [str(each) for each in outcomes]

    assert await counted("1") == ["first"]
    assert await counted("1") == ["replayed"]
    assert await counted("1", b"b") == ["conflict"]

    held = await upstream.hold(ask(replies, upstream, request_id="2"))
    assert await counted("2") == ["in_flight"]
    assert await counted("2", b"b") == ["conflict"]
    upstream.released.set()
    await held

    upstream.failure = failure(error_pb2.ERROR_OUTCOME_REJECTED)
    assert await counted("3") == ["first"], "it was made, and a repeat may be made again"
    upstream.failure = failure(error_pb2.ERROR_OUTCOME_UNKNOWN)
    assert await counted("3") == ["first"]
    assert await counted("3") == ["unknown"]
    store.fail()
    assert await counted("3") == ["store_failed"]


@pytest.mark.parametrize("outcome", [None, error_pb2.ERROR_OUTCOME_UNKNOWN, error_pb2.ERROR_OUTCOME_REJECTED])
async def test_a_call_that_was_made_while_the_store_failed_is_counted_as_such(
    store: FakeKeyValueStore, upstream: Upstream, outcome: "ErrorOutcome | None"
) -> None:
    outcomes: list[str] = []
    replies = instance(store, on_outcome=outcomes.append)
    held = await upstream.hold(ask(replies, upstream))
    upstream.failure = None if outcome is None else failure(outcome)
    store.fail()
    upstream.released.set()
    await asyncio.gather(held, return_exceptions=True)

    assert outcomes == ["unrecorded"]
    await replies.aclose()
