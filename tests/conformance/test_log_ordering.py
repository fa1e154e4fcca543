"""The contract of `gateway.ports.EventLog`: ordered appends."""

import asyncio

from gateway.errors import GatewayError
from gateway.ports import Event, EventLog, LogBounds
from tests.conformance.storage_engines import StorageEngine, an_event, append_all, numbers, read_all


def _events(*numbers: int) -> list[Event]:
    return [_event(number) for number in numbers]


def _event(number: int) -> Event:
    return an_event(number, subject_id=f"card-{number % 97}")._replace(consumer_id=f"consumer-{number % 89}")


async def test_many_events_stand_in_the_order_in_which_they_were_given(log: EventLog) -> None:
    events = _events(*range(2000))

    assert list(await log.append_in_order(events)) == [True] * 2000

    assert [stored.event for stored in await read_all(log)] == events
    assert await log.bounds() == LogBounds(trimmed_through=0, last=2000)


async def test_what_was_given_in_order_can_be_read_at_once(log: EventLog) -> None:
    for start in range(0, 500, 10):
        await log.append_in_order(_events(*range(start, start + 10)))
        assert len((await log.read(start, 100)).events) == 10


async def test_of_events_in_order_duplicates_are_passed_over(log: EventLog) -> None:
    await append_all(log, _events(3, 700))

    news = await log.append_in_order(_events(1, 3, 4, 4, *range(600, 1200), 700))

    assert [place for place, is_new in enumerate(news) if not is_new] == [1, 3, 104, 604]
    found = await numbers(log)
    assert sorted(found[:2]) == [3, 700]
    assert found[2:] == [1, 4, *(number for number in range(600, 1200) if number != 700)]


async def test_there_may_be_nothing_in_order_or_nothing_new(log: EventLog) -> None:
    assert list(await log.append_in_order([])) == []
    assert await log.bounds() == LogBounds(0, 0)
    events = _events(*range(600))
    await log.append_in_order(events)

    assert list(await log.append_in_order(events)) == [False] * 600

    assert [stored.event for stored in await read_all(log)] == events


async def test_the_order_of_each_card_and_consumer_holds_while_others_store_some_in_between(log: EventLog) -> None:
    async def one_by_one() -> None:
        for number in range(5000, 5200):
            assert await log.append(_event(number))

    given = (range(1000), range(2000, 3000))
    await asyncio.gather(one_by_one(), *(log.append_in_order(_events(*some)) for some in given))

    found = await numbers(log)
    assert len(found) == 2200
    for some in given:
        for count in (97, 89):
            for remainder in range(count):
                own = [number for number in found if number in some and number % count == remainder]
                assert own == sorted(own)


async def test_events_of_a_single_card_are_stored_in_order_while_others_store_some_in_between(log: EventLog) -> None:
    given = [[an_event(number, subject_id=card) for number in range(200)] for card in ("card-1", "card-2")]

    await asyncio.gather(*(log.append_in_order(events) for events in given))

    found = [stored.event for stored in await read_all(log)]
    for events in given:
        assert [event for event in found if event.subject_id == events[0].subject_id] == events


async def test_if_the_engine_fails_no_event_is_stored_without_those_before_it(breakable_engine: StorageEngine) -> None:
    events = _events(*range(20_000))
    given = 0
    async with breakable_engine.opened() as storage:
        breaking = asyncio.create_task(_break_down_after(breakable_engine, storage.log, 500))
        try:
            for start in range(0, len(events), 1000):
                await storage.log.append_in_order(events[start : start + 1000])
                given = start + 1000
        except GatewayError:
            pass
        await breaking
    await breakable_engine.mend()

    assert given < len(events)
    async with breakable_engine.opened() as storage:
        found = [stored.event for stored in await read_all(storage.log)]
        assert given <= len(found)
        assert found == events[: len(found)]


async def _break_down_after(engine: StorageEngine, log: EventLog, count: int) -> None:
    await log.wait_beyond(count)
    await engine.break_down()
