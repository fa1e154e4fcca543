"""The contract of `gateway.ports.EventLog`: appends, also of many events in order."""

import asyncio
from collections import defaultdict
from collections.abc import Callable

import pytest

from gateway.errors import GatewayError
from gateway.ports import Event, EventLog, LogBounds, Scope
from tests.conformance.storage_engines import ISSUER, ODD_TEXTS, StorageEngine, an_event, append_all, numbers, read_all


@pytest.mark.parametrize("payload", [b"", bytes(range(256))])
async def test_an_event_is_kept_whole_and_in_its_place(log: EventLog, payload: bytes) -> None:
    event = Event(ISSUER, 2, "consumer-1", "operation-1", "consumer-1", 7, 3, 1_700_000_000_123, payload)

    assert await log.append(event)

    read = await log.read(0, 10)
    assert [(stored.sequence, stored.event) for stored in read.events] == [(1, event)]
    assert (read.through, read.bounds) == (1, LogBounds(trimmed_through=0, last=1))


async def test_a_duplicate_is_reported_and_not_stored_again(log: EventLog) -> None:
    first = an_event(1, payload=b"first")
    assert await log.append(first)

    assert not await log.append(an_event(1, time_ms=2_000, payload=b"second"))

    assert [stored.event for stored in await read_all(log)] == [first]
    assert await log.bounds() == LogBounds(trimmed_through=0, last=1)


async def test_events_differ_if_their_issuer_kind_subject_or_operation_does(log: EventLog) -> None:
    event = an_event(1)
    others = [
        event._replace(issuer_id="ISSUER0002"),
        event._replace(kind=2),
        event._replace(subject_id="card-2"),
        event._replace(operation_id="operation-2"),
    ]

    assert await append_all(log, [event, *others]) == [True] * 5

    assert await append_all(log, [event, *others]) == [False] * 5
    assert {stored.event for stored in await read_all(log)} == {event, *others}


async def test_a_later_state_of_an_operation_is_an_event_of_its_own(storage_engine: StorageEngine) -> None:
    first = an_event(1)
    states = [
        first,
        first._replace(status=3),
        first._replace(operation_type=7),
        *(first._replace(operation_type=0, status=0, state=text) for text in ("", "CANCELLED", "REVOKED")),
    ]
    async with storage_engine.opened() as storage:
        assert [await storage.log.append(each) for each in states] == [True] * 6
        repeats = [each._replace(receive_time_ms=2_000, payload=b"again") for each in states for _ in range(10)]
        assert await append_all(storage.log, repeats) == [False] * 60
        assert list(await storage.log.append_in_order(repeats)) == [False] * 60

    async with storage_engine.opened() as storage:
        assert await append_all(storage.log, repeats) == [False] * 60
        assert [stored.event for stored in await read_all(storage.log)] == states
        scope = Scope(ISSUER, 1, "card-1")
        assert [stored.event for stored in (await storage.log.read(0, 100, scope)).events] == states


async def test_of_many_that_bring_the_states_of_an_operation_at_the_same_time_each_state_is_stored_once(
    log: EventLog,
) -> None:
    states = [an_event(1)._replace(status=status) for status in range(8)]

    outcomes = await append_all(log, states * 8)

    assert [sum(outcomes[status::8]) for status in range(8)] == [1] * 8
    assert {stored.event for stored in await read_all(log)} == set(states)
    assert await log.bounds() == LogBounds(trimmed_through=0, last=8)


async def test_the_states_of_an_operation_stand_in_the_order_in_which_they_were_given(log: EventLog) -> None:
    pending = [event._replace(status=3) for event in _events(*range(400))]
    ended = _events(*range(400))
    await append_all(log, pending[:3])

    assert list(await log.append_in_order([*pending, *ended, *pending])) == [False] * 3 + [True] * 797 + [False] * 400

    found = [stored.event for stored in await read_all(log)]
    assert set(found[:3]) == set(pending[:3])
    assert found[3:] == [*pending[3:], *ended]


WITH_TEXT: dict[str, Callable[[str], Event]] = {
    "issuer": lambda text: an_event(1)._replace(issuer_id=text),
    "subject": lambda text: an_event(1)._replace(subject_id=text),
    "operation": lambda text: an_event(1)._replace(operation_id=text),
    "state": lambda text: an_event(1)._replace(state=text),
}


@pytest.mark.parametrize("part", list(WITH_TEXT))
async def test_ids_may_be_any_texts_and_are_never_confused(log: EventLog, part: str) -> None:
    events = [WITH_TEXT[part](text)._replace(consumer_id=text) for text in ODD_TEXTS]

    assert await append_all(log, events) == [True] * len(events)
    assert await append_all(log, events) == [False] * len(events)

    assert {stored.event for stored in await read_all(log)} == set(events)


async def test_of_many_that_bring_the_same_event_at_the_same_time_one_is_the_first(log: EventLog) -> None:
    event = an_event(1)

    outcomes = await asyncio.gather(*(log.append(event) for _ in range(20)))

    assert sorted(outcomes) == [False] * 19 + [True]
    assert [stored.event for stored in await read_all(log)] == [event]


async def test_the_events_of_a_card_keep_their_order_while_many_cards_have_some(log: EventLog) -> None:
    async def of_card(card: int) -> None:
        for number in range(25):
            assert await log.append(an_event(card * 1000 + number, subject_id=f"card-{card}"))

    await asyncio.gather(*(of_card(card) for card in range(20)))

    stored = await read_all(log, limit=70)
    places: dict[str, list[int]] = defaultdict(list)
    for each in stored:
        places[each.event.subject_id].append(int(each.event.operation_id.removeprefix("operation-")) % 1000)
    assert [each.sequence for each in stored] == list(range(1, 501))
    assert dict(places) == {f"card-{card}": list(range(25)) for card in range(20)}


async def test_a_log_opened_again_has_what_was_stored_knows_its_end_and_goes_on(storage_engine: StorageEngine) -> None:
    async with storage_engine.opened() as storage:
        log_id = storage.log.log_id
        assert await append_all(storage.log, [an_event(1), an_event(2)]) == [True, True]
        assert await append_all(storage.log, [an_event(2), an_event(1)]) == [False, False]

    async with storage_engine.opened() as storage:
        log = storage.log
        assert (log.log_id, await log.bounds()) == (log_id, LogBounds(trimmed_through=0, last=2))
        async with asyncio.timeout(10):
            await log.wait_beyond(1)
        waiting = asyncio.create_task(log.wait_beyond(2))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert [await log.append(an_event(number)) for number in (2, 3)] == [False, True]
        await waiting
        assert [stored.sequence for stored in await read_all(log)] == [1, 2, 3]


async def test_a_log_has_an_identity_of_eight_hexadecimal_digits(log: EventLog) -> None:
    assert len(log.log_id) == 8
    assert set(log.log_id) <= set("0123456789abcdef")


async def test_gateways_that_share_a_log_make_one_order_of_it(shared_engine: StorageEngine) -> None:
    events = [an_event(number) for number in range(200)]
    async with shared_engine.opened() as one, shared_engine.opened() as other:
        assert one.log.log_id == other.log.log_id

        news = await asyncio.gather(append_all(one.log, events), append_all(other.log, events[::-1]))

        assert sum(map(sum, news)) == 200
        assert await read_all(one.log) == await read_all(other.log)
        assert {stored.event for stored in await read_all(one.log)} == set(events)


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
