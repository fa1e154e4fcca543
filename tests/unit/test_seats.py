import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from gateway.errors import GatewayError
from gateway.ports import Event
from gateway.subscriptions import Seats, Watch, Watchers
from issuer.common.v1 import error_pb2
from issuer.notification.v1 import messages_pb2 as notification
from tests.fakes import ISSUER, an_event
from tests.unit.watching import LATEST, a_log_of, a_watch, collect, operations, receive

ACTIVE = notification.WATCHER_ROLE_ACTIVE
STANDBY = notification.WATCHER_ROLE_STANDBY
NAME = "bookkeeping"


def subscribe(watchers: Watchers, watch: Watch | None = None, name: str = NAME) -> AsyncGenerator[bytes, None]:
    return watchers.watch_subscription(a_watch(heartbeat_seconds=0.02) if watch is None else watch, ISSUER, name)


async def becomes_active(stream: AsyncGenerator[bytes, None]) -> notification.WatchNotificationsResponse:
    message = await receive(stream)
    while message.role == STANDBY:
        assert not message.notifications
        message = await receive(stream)
    return message


async def test_the_first_watcher_is_active_and_the_subscription_is_made() -> None:
    log = a_log_of(2)

    messages = await collect(subscribe(Watchers(log)), log, 2)

    assert [message.role for message in messages] == [ACTIVE, ACTIVE]
    assert operations(messages) == ["op-1", "op-2"]
    assert await log.get_subscription(ISSUER, NAME) is not None


async def test_a_committed_cursor_wins_over_the_start_that_was_asked_for() -> None:
    log = a_log_of(4)
    await log.commit(ISSUER, NAME, 2, 0)

    messages = await collect(subscribe(Watchers(log), a_watch(LATEST)), log, 4)

    assert operations(messages) == ["op-3", "op-4"]


async def test_the_start_that_was_asked_for_counts_until_something_is_committed() -> None:
    log = a_log_of(4)

    stream = subscribe(Watchers(log), a_watch(LATEST))
    first = await receive(stream)
    await stream.aclose()

    assert first.cursor == "0a1b2c3d-4"


async def test_a_second_watcher_stands_by_and_receives_heartbeats_only() -> None:
    log = a_log_of(2)
    watchers = Watchers(log)
    async with aclosing(subscribe(watchers)) as active, aclosing(subscribe(watchers)) as standby:
        await receive(active)
        log.put(an_event(3))

        beats = [await receive(standby) for _ in range(3)]

        assert {beat.role for beat in beats} == {STANDBY}
        assert operations(beats) == []
        assert watchers.seats.count(ISSUER, NAME) == 2


async def test_when_the_active_watcher_leaves_the_next_one_takes_over_at_the_committed_cursor() -> None:
    log = a_log_of(5)
    watchers = Watchers(log)
    active, standby = subscribe(watchers), subscribe(watchers)
    await receive(active)
    assert operations([await receive(active)]) == [f"op-{number}" for number in range(1, 6)]
    assert (await receive(standby)).role == STANDBY
    await log.commit(ISSUER, NAME, 3, 0)

    await active.aclose()
    first = await becomes_active(standby)
    messages = await collect(standby, log, 5)

    assert first.cursor == "0a1b2c3d-3"
    assert operations(messages) == ["op-4", "op-5"]


async def test_without_a_commit_everything_that_was_delivered_is_delivered_again() -> None:
    log = a_log_of(2)
    watchers = Watchers(log)
    active, standby = subscribe(watchers), subscribe(watchers)
    await receive(active)
    await receive(active)
    await receive(standby)

    await active.aclose()
    await becomes_active(standby)

    assert operations(await collect(standby, log, 2)) == ["op-1", "op-2"]


async def test_when_the_active_watcher_breaks_the_next_one_takes_over() -> None:
    log = a_log_of(2)
    watchers = Watchers(log)

    def broken(_: Event) -> bool:
        raise ZeroDivisionError

    active, standby = subscribe(watchers, a_watch(wants=broken)), subscribe(watchers)
    await receive(active)
    assert (await receive(standby)).role == STANDBY

    with pytest.raises(ZeroDivisionError):
        await receive(active)
    await becomes_active(standby)

    assert operations(await collect(standby, log, 2)) == ["op-1", "op-2"]


async def test_when_the_active_watcher_is_cancelled_the_next_one_takes_over_and_no_seat_is_left() -> None:
    log = a_log_of(2)
    watchers = Watchers(log)

    async def watch() -> None:
        async with aclosing(subscribe(watchers)) as stream:
            async for _ in stream:
                pass

    active = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    standby = subscribe(watchers)
    assert (await receive(standby)).role == STANDBY

    active.cancel()
    with pytest.raises(asyncio.CancelledError):
        await active
    await becomes_active(standby)
    await standby.aclose()

    assert watchers.seats.count(ISSUER, NAME) == 0


async def test_standbys_take_over_in_the_order_of_their_coming() -> None:
    log = a_log_of(1)
    watchers = Watchers(log)
    streams = [subscribe(watchers) for _ in range(4)]
    for stream in streams:
        await receive(stream)

    for leaving, successor, later in zip(streams, streams[1:], [*streams[2:], None], strict=False):
        await leaving.aclose()
        await becomes_active(successor)
        if later is not None:
            assert (await receive(later)).role == STANDBY
    await streams[-1].aclose()

    assert watchers.seats.count(ISSUER, NAME) == 0


async def test_a_standby_that_leaves_is_passed_over() -> None:
    watchers = Watchers(a_log_of(1))
    active, first, second = subscribe(watchers), subscribe(watchers), subscribe(watchers)
    for stream in (active, first, second):
        await receive(stream)

    await first.aclose()
    assert (await receive(second)).role == STANDBY
    await active.aclose()
    await becomes_active(second)
    await second.aclose()

    assert watchers.seats.count(ISSUER, NAME) == 0


async def test_watchers_of_other_subscriptions_do_not_wait_for_each_other() -> None:
    watchers = Watchers(a_log_of(1))
    other_issuer = watchers.watch_subscription(a_watch(), "ISSUER0002", NAME)

    async with (
        aclosing(subscribe(watchers)) as one,
        aclosing(subscribe(watchers, name="another")) as two,
        aclosing(other_issuer) as three,
    ):
        roles = [(await receive(stream)).role for stream in (one, two, three)]

    assert roles == [ACTIVE, ACTIVE, ACTIVE]


async def test_a_watch_that_fails_to_begin_leaves_no_seat() -> None:
    log = a_log_of(1)
    watchers = Watchers(log)
    log.fail()

    with pytest.raises(GatewayError):
        await receive(subscribe(watchers))

    assert watchers.seats.count(ISSUER, NAME) == 0


async def test_a_standby_whose_committed_cursor_was_trimmed_is_told_so_when_it_takes_over() -> None:
    log = a_log_of(5)
    watchers = Watchers(log)
    await log.commit(ISSUER, NAME, 1, 0)
    active, standby = subscribe(watchers), subscribe(watchers)
    await receive(active)
    await receive(standby)
    log.trim(3)

    await active.aclose()
    with pytest.raises(GatewayError) as caught:
        await becomes_active(standby)

    assert caught.value.reason == error_pb2.ERROR_REASON_CURSOR_EXPIRED
    assert caught.value.metadata == {"earliest_cursor": "0a1b2c3d-3"}


def test_a_seat_is_given_back_even_if_its_holder_raises() -> None:
    seats = Seats()

    def hold() -> None:
        with seats.take(ISSUER, NAME):
            assert seats.count(ISSUER, NAME) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        hold()

    assert seats.count(ISSUER, NAME) == 0
