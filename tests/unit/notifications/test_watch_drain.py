import asyncio
import gc
import time
import warnings
from collections.abc import AsyncGenerator, Callable

import pytest

from gateway.errors import GatewayError
from gateway.notifications.watch import Watchers
from gateway.ports import Read, Scope
from issuer.common.v1 import error_pb2
from tests.fakes import ISSUER, FakeEventLog, FakeSubscriptionLeases, an_event
from tests.unit.notifications.watches import EARLIEST, LATEST, a_log_of, a_watch, receive, settle, watchers_of


async def is_draining(stream: AsyncGenerator[bytes, None]) -> bool:
    try:
        while True:
            await receive(stream)
    except GatewayError as error:
        return (
            error.reason == error_pb2.ERROR_REASON_SERVER_DRAINING and error.outcome == error_pb2.ERROR_OUTCOME_NOT_SENT
        )


def watched(watchers: Watchers) -> AsyncGenerator[bytes, None]:
    return watchers.watch(a_watch(LATEST))


def subscribed(watchers: Watchers) -> AsyncGenerator[bytes, None]:
    return watchers.watch_subscription(a_watch(LATEST), ISSUER, "a-name")


@pytest.mark.parametrize("begin", [watched, subscribed])
@pytest.mark.parametrize("times", [1, 2])
async def test_draining_ends_all_that_wait_active_or_not_and_twice_is_as_good_as_once(
    begin: Callable[[Watchers], AsyncGenerator[bytes, None]], times: int
) -> None:
    watchers = watchers_of(a_log_of(1))
    waiting = [asyncio.create_task(is_draining(begin(watchers))) for _ in range(3)]
    await settle()

    for _ in range(times):
        watchers.drain()

    assert await asyncio.gather(*waiting) == [True, True, True]
    assert watchers.counts(ISSUER) == {}


async def test_draining_ends_a_watch_that_always_has_something_to_send() -> None:
    log = a_log_of(1)
    watchers = watchers_of(log)

    async def write() -> None:
        for number in range(2, 1_000_000):
            log.put(an_event(number))
            await asyncio.sleep(0)

    writer = asyncio.create_task(write())
    watching = asyncio.create_task(is_draining(watchers.watch(a_watch(EARLIEST))))
    await settle()

    watchers.drain()

    assert await watching
    writer.cancel()


async def test_draining_lets_other_gateways_take_over_before_a_client_that_does_not_read_has_left() -> None:
    log = a_log_of(300)
    leases = FakeSubscriptionLeases()
    watchers = Watchers(log, leases)
    stream = watchers.watch_subscription(a_watch(max_batch_size=100), ISSUER, "a-name")
    await receive(stream)
    assert (await receive(stream)).notifications

    watchers.drain()

    # The stream is as it was: nobody has asked for its next batch, which would have been there.
    assert leases.held == {}
    assert watchers.counts(ISSUER) == {}
    assert await is_draining(stream)


async def test_once_draining_no_watch_begins() -> None:
    watchers = watchers_of(a_log_of(1))

    watchers.drain()

    assert await is_draining(watched(watchers))
    assert await is_draining(subscribed(watchers))
    assert watchers.counts(ISSUER) == {}


async def test_draining_just_when_heartbeats_are_due_ends_the_watches() -> None:
    watchers = watchers_of(a_log_of(1))
    silence = a_watch(LATEST, heartbeat_seconds=0.2)
    waiting = [asyncio.create_task(is_draining(watchers.watch(silence))) for _ in range(3)]
    await settle()
    loop = asyncio.get_running_loop()
    failures: list[Exception] = []

    def drain() -> None:
        try:
            watchers.drain()
        except RuntimeError as error:
            failures.append(error)

    # The loop is held up until both the heartbeats and the draining are due, so that they come in one turn.
    loop.call_later(0.25, drain)
    time.sleep(0.3)  # noqa: ASYNC251

    assert await asyncio.gather(*waiting) == [True, True, True]
    assert failures == []


async def test_draining_while_the_log_is_asked_ends_the_watch_and_leaves_nothing_unawaited() -> None:
    class SlowLog(FakeEventLog):
        answers_at_once = True

        async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
            if not self.answers_at_once:
                watchers.drain()
            return await super().read(after, limit, scope)

    log = SlowLog()
    watchers = watchers_of(log)
    stream = watchers.watch(a_watch(LATEST))
    await receive(stream)

    log.answers_at_once = False
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert await is_draining(stream)
        gc.collect()

    assert warned == []
