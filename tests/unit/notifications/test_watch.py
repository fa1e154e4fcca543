import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.notifications.start import Start
from issuer.common.v1 import error_pb2
from issuer.notification.v1 import messages_pb2 as notification
from tests.fakes import FakeEventLog, an_event
from tests.unit.notifications.watches import (
    EARLIEST,
    LATEST,
    a_log_of,
    a_watch,
    collect,
    only,
    operations,
    receive,
    settle,
    watchers_of,
)

ALL_CARDS = ["card-a", "card-b", "card-c"]


def names(first: int, last: int) -> list[str]:
    return [f"op-{number}" for number in range(first, last + 1)]


@pytest.mark.parametrize(
    ("start", "trimmed", "first"),
    [
        pytest.param(EARLIEST, 0, 1, id="earliest"),
        pytest.param(EARLIEST, 2, 3, id="the earliest that is kept"),
        pytest.param(LATEST, 0, 6, id="latest"),
        pytest.param(Start(after_cursor="0a1b2c3d-3"), 0, 4, id="after a cursor"),
        pytest.param(Start(after_cursor="0a1b2c3d-4"), 4, 5, id="after the cursor just before what is kept"),
        pytest.param(Start(since_ms=2999), 0, 3, id="just before a time of receipt"),
        pytest.param(Start(since_ms=3000), 0, 3, id="a time of receipt"),
        pytest.param(Start(since_ms=3001), 0, 4, id="just after a time of receipt"),
        pytest.param(Start(since_ms=-1), 0, 1, id="before all times"),
        pytest.param(Start(since_ms=0), 3, 4, id="before all that is kept"),
        pytest.param(Start(since_ms=5001), 0, 6, id="after all times"),
    ],
)
async def test_a_watch_begins_where_it_is_to_begin_and_then_goes_on(start: Start, trimmed: int, first: int) -> None:
    log = a_log_of(5)
    log.trim(trimmed)
    stream = watchers_of(log).watch(a_watch(start))
    begin = await receive(stream)

    log.put(an_event(6))
    messages = await collect(stream, log, 6)

    assert (begin.cursor, operations([begin])) == (f"0a1b2c3d-{first - 1}", [])
    assert operations(messages) == names(first, 6)


async def test_no_batch_is_larger_than_a_client_of_grpc_takes() -> None:
    log = FakeEventLog()
    long = notification.Notification(correlation_id="x" * 300_000).SerializeToString()
    for number in range(1, 31):
        log.put(an_event(number)._replace(payload=an_event(number).payload + long))

    messages = await collect(watchers_of(log).watch(a_watch(max_batch_size=1000)), log, 30)

    assert operations(messages) == names(1, 30)
    assert all(message.ByteSize() < 4 * 1024 * 1024 for message in messages)
    assert [message.cursor for message in messages[1:]] == [
        message.notifications[-1].cursor for message in messages[1:]
    ]


async def test_a_notification_that_is_larger_than_a_batch_comes_alone() -> None:
    log = FakeEventLog()
    long = notification.Notification(correlation_id="x" * 2_000_000).SerializeToString()
    log.put(an_event(1))
    log.put(an_event(2)._replace(payload=an_event(2).payload + long))
    log.put(an_event(3))

    messages = await collect(watchers_of(log).watch(a_watch()), log, 3)

    assert [operations([message]) for message in messages] == [[], ["op-1"], ["op-2"], ["op-3"]]


async def test_a_long_history_with_few_matches_is_received_whole() -> None:
    log = FakeEventLog()
    for number in range(1, 2501):
        log.put(an_event(number, card_id="card-a" if number % 7 == 0 else "card-b"))

    messages = await collect(watchers_of(log).watch(a_watch(wants=only("card-a"), max_batch_size=9)), log, 2500)

    assert operations(messages) == [f"op-{number}" for number in range(7, 2501, 7)]


@given(
    cards=st.lists(st.sampled_from(ALL_CARDS), min_size=1, max_size=25),
    wanted=st.sets(st.sampled_from(ALL_CARDS), min_size=1),
    gaps=st.lists(st.integers(0, 2), min_size=25, max_size=25),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
async def test_a_watch_that_goes_on_after_any_received_batch_loses_and_repeats_nothing(
    cards: list[str], wanted: set[str], gaps: list[int], sizes: tuple[int, int]
) -> None:
    log = FakeEventLog()
    for number, card in enumerate(cards, start=1):
        last = log.put(an_event(number, card_id=card), gap=gaps[number - 1])
    expected = [f"op-{number}" for number, card in enumerate(cards, start=1) if card in wanted]
    watchers = watchers_of(log)

    # Silence is short, so that a watch whose last events do not match tells soon how far it is.
    whole = a_watch(wants=only(*wanted), max_batch_size=sizes[0], heartbeat_seconds=0.001)
    messages = await collect(watchers.watch(whole), log, last)

    assert operations(messages) == expected
    for count, message in enumerate(messages, start=1):
        rest = a_watch(
            Start(after_cursor=message.cursor), wants=only(*wanted), max_batch_size=sizes[1], heartbeat_seconds=0.001
        )
        later = await collect(watchers.watch(rest), log, last)
        assert operations(messages[:count]) + operations(later) == expected


async def test_each_notification_carries_the_cursor_after_which_its_successor_comes() -> None:
    log = a_log_of(4)
    watchers = watchers_of(log)
    (_, batch) = await collect(watchers.watch(a_watch()), log, 4)

    for place, received in enumerate(batch.notifications[:-1], start=1):
        later = await collect(watchers.watch(a_watch(Start(after_cursor=received.cursor))), log, 4)
        assert operations(later) == names(place + 1, 4)


async def test_watchers_who_want_the_same_have_the_log_read_once_and_get_the_same_bytes() -> None:
    log = a_log_of(3)
    watchers = watchers_of(log)
    streams = [watchers.watch(a_watch(LATEST)) for _ in range(20)]
    for stream in streams:
        await anext(stream)
    waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await settle()
    log.read_count = 0

    log.put(an_event(4))
    received = await asyncio.gather(*waiting)
    later = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await settle()

    assert len({id(content) for content in received}) == 1
    # That there is no more is known without a look at the log.
    assert log.read_count == 1
    for each in later:
        each.cancel()
    await asyncio.gather(*later, return_exceptions=True)


async def test_a_watch_that_nothing_matches_is_sent_heartbeats_whose_cursor_moves_on() -> None:
    log = FakeEventLog()

    async def write() -> None:
        for number in range(1, 1_000_000):
            log.put(an_event(number, card_id="card-b"))
            await asyncio.sleep(0.001)

    writer = asyncio.create_task(write())
    stream = watchers_of(log).watch(a_watch(wants=only("card-a"), heartbeat_seconds=0.05))
    beats = [await receive(stream) for _ in range(4)]
    await stream.aclose()
    writer.cancel()

    places = [int(beat.cursor.removeprefix("0a1b2c3d-")) for beat in beats]
    assert operations(beats) == []
    assert places == sorted(set(places))


async def test_a_failure_of_the_log_reaches_a_watch_that_begins_and_the_next_one_begins_once_it_works_again() -> None:
    log = a_log_of(3)
    watchers = watchers_of(log)
    log.fail()
    with pytest.raises(GatewayError) as caught:
        await receive(watchers.watch(a_watch()))

    log.recover()

    assert caught.value.reason == error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE
    assert operations(await collect(watchers.watch(a_watch()), log, 3)) == names(1, 3)


async def test_a_failure_of_the_log_reaches_a_watch_that_waits() -> None:
    log = a_log_of(1)
    stream = watchers_of(log).watch(a_watch(LATEST))
    await receive(stream)
    waiting = asyncio.create_task(receive(stream))
    await settle()

    log.fail()
    with pytest.raises(GatewayError) as caught:
        await waiting

    assert caught.value.reason == error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE


async def test_a_cancelled_watch_raises_the_cancellation_and_leaves_no_task() -> None:
    log = a_log_of(1)
    stream = watchers_of(log).watch(a_watch(LATEST))
    await receive(stream)
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(receive(stream))
    await settle()

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert asyncio.all_tasks() == before


async def test_a_watch_that_is_overtaken_by_retention_ends_instead_of_leaving_something_out() -> None:
    log = a_log_of(2)
    stream = watchers_of(log).watch(a_watch())
    await receive(stream)
    received = await receive(stream)
    for number in range(3, 9):
        log.put(an_event(number))
    log.trim(5)

    with pytest.raises(GatewayError) as caught:
        await receive(stream)

    assert operations([received]) == names(1, 2)
    assert caught.value.reason == error_pb2.ERROR_REASON_CURSOR_EXPIRED
    assert caught.value.metadata["earliest_cursor"] == "0a1b2c3d-5"


async def test_a_watch_ends_before_a_damaged_event_after_all_before_it_and_passes_it_once_it_is_skipped() -> None:
    log = a_log_of(5)
    log.damaged[4] = False
    watchers = watchers_of(log)
    outcomes: list[tuple[list[str], int | None, str | None]] = []
    for start in (EARLIEST, EARLIEST, Start(after_cursor="0a1b2c3d-4")):
        stream = watchers.watch(a_watch(start=start))
        received: list[str] = []
        try:
            while not received or received[-1] != "op-5":
                received += operations([await receive(stream)])
            outcomes.append((received, None, None))
        except GatewayError as error:
            outcomes.append((received, error.reason, error.metadata.get("earliest_cursor")))
        await stream.aclose()
        await log.skip(4)

    assert outcomes == [
        (names(1, 3), error_pb2.ERROR_REASON_EVENT_DAMAGED, None),
        (names(1, 3), error_pb2.ERROR_REASON_CURSOR_EXPIRED, "0a1b2c3d-4"),
        (names(5, 5), None, None),
    ]


@given(trims=st.lists(st.integers(0, 60), max_size=4), size=st.integers(1, 5))
async def test_when_retention_strikes_a_watch_gets_every_event_in_order_or_is_told(trims: list[int], size: int) -> None:
    log = a_log_of(10)

    async def write() -> None:
        for number in range(11, 61):
            await log.append(an_event(number))
            if number in trims:
                log.trim(number - size)

    received: list[str] = []
    writer = asyncio.create_task(write())
    stream = watchers_of(log).watch(a_watch(max_batch_size=size))
    told = False
    try:
        while len(received) < 60:
            message = await receive(stream)
            received += operations([message])
    except GatewayError as error:
        told = error.reason == error_pb2.ERROR_REASON_CURSOR_EXPIRED
    await stream.aclose()
    await writer

    assert received == names(1, len(received))
    assert told or len(received) == 60


async def test_a_watch_ends_when_the_log_has_another_identity_and_the_next_one_sees_what_is_there() -> None:
    log = a_log_of(5)
    watchers = watchers_of(log)
    await collect(watchers.watch(a_watch(EARLIEST)), log, 5)
    stream = watchers.watch(a_watch(LATEST))
    await receive(stream)

    log.log_id = "00000001"
    del log.held[2:]
    log.put(an_event(6))

    with pytest.raises(GatewayError) as caught:
        await receive(stream)
    assert caught.value.reason == error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE
    messages = await collect(watchers.watch(a_watch(EARLIEST)), log, 6)
    assert operations(messages) == ["op-1", "op-2", "op-6"]
    assert all(message.cursor.startswith("00000001-") for message in messages)
