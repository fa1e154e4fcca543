"""The contract of `gateway.ports.EventLog`: reads."""

import asyncio
from itertools import pairwise

import pytest

from gateway.ports import EventLog, LogBounds, Scope
from tests.conformance.storage_engines import ISSUER, StorageEngine, an_event, append_all, read_all

MEBIBYTE = 1_048_576


async def test_an_empty_log_holds_nothing_and_any_time_leads_to_its_end(log: EventLog) -> None:
    read = await log.read(0, 10)

    assert (list(read.events), read.through, read.bounds) == ([], 0, LogBounds(0, 0))
    assert (await log.bounds(), await log.sequence_before(1_000)) == (LogBounds(0, 0), 0)


async def test_a_read_begins_after_its_place_and_ends_at_its_limit(log: EventLog) -> None:
    await append_all(log, [an_event(number) for number in range(10)])

    assert [stored.sequence for stored in (await log.read(3, 4)).events] == [4, 5, 6, 7]
    assert (await log.read(3, 4)).through == 7
    assert [stored.sequence for stored in (await log.read(8, 4)).events] == [9, 10]
    end = await log.read(10, 4)
    assert (list(end.events), end.through, end.bounds) == ([], 10, LogBounds(0, 10))


async def test_reads_one_after_the_other_give_everything_once(log: EventLog) -> None:
    events = [an_event(number) for number in range(300)]
    await append_all(log, events)

    found = await read_all(log, limit=7)

    assert [stored.sequence for stored in found] == list(range(1, 301))
    assert {stored.event for stored in found} == set(events)


async def test_a_read_of_large_events_is_small_enough_to_be_held_and_nothing_gets_lost(log: EventLog) -> None:
    events = [an_event(number, payload=bytes([number]) * 200_000) for number in range(20)]
    for event in events:
        await log.append(event)

    found = []
    after = 0
    while (read := await log.read(after, 1000)).events:
        assert sum(len(stored.event.payload) for stored in read.events) <= MEBIBYTE + 200_000
        found += [stored.event for stored in read.events]
        after = read.through

    assert found == events


async def test_a_read_of_payloads_has_those_of_one_issuer_and_passes_the_others(log: EventLog) -> None:
    events = [
        an_event(number, payload=bytes([number]))._replace(issuer_id=ISSUER if number % 3 else "ISSUER0002")
        for number in range(20)
    ]
    for event in events:
        await log.append(event)

    found = await log.read_payloads(3, 10, ISSUER)

    assert list(found.sequences) == [5, 6, 8, 9, 11, 12]
    assert [bytes([sequence - 1]) for sequence in found.sequences] == list(found.payloads)
    assert (found.through, found.bounds) == (13, LogBounds(0, 20))
    for after, issuer_id, through in ((0, "ISSUER0003", 10), (12, "ISSUER0003", 20), (20, ISSUER, 20)):
        nothing = await log.read_payloads(after, 10, issuer_id)
        assert (list(nothing.sequences), list(nothing.payloads), nothing.through) == ([], [], through)


async def test_a_read_of_large_payloads_is_as_small_as_that_of_their_events(log: EventLog) -> None:
    for number in range(20):
        await log.append(an_event(number, payload=bytes([number]) * 200_000))

    after = 0
    while (read := await log.read_payloads(after, 1000, ISSUER)).payloads:
        stored = (await log.read(after, 1000)).events
        assert list(read.sequences) == [sequence for sequence, _ in stored]
        assert list(read.payloads) == [event.payload for _, event in stored]
        after = read.through

    assert after == 20


async def test_an_event_that_is_larger_than_others_together_is_read_alone(log: EventLog) -> None:
    large = an_event(2, payload=bytes(900_000))
    await append_all(log, [an_event(1)])
    await append_all(log, [large])
    await append_all(log, [an_event(3, payload=bytes(400_000))])

    assert (await log.read(1, 10)).events[0].event == large
    assert [stored.sequence for stored in await read_all(log)] == [1, 2, 3]


async def test_a_reader_beside_writers_sees_each_event_once_and_in_order(log: EventLog) -> None:
    async def follow() -> list[int]:
        seen: list[int] = []
        while len(seen) < 600:
            await log.wait_beyond(seen[-1] if seen else 0)
            seen += [stored.sequence for stored in (await log.read(seen[-1] if seen else 0, 50)).events]
        return seen

    async with asyncio.timeout(30):
        seen, *_ = await asyncio.gather(
            follow(),
            *(append_all(log, [an_event(writer * 1000 + number) for number in range(200)]) for writer in range(3)),
        )

    assert seen == list(range(1, 601))


# ------------------------------------------------------------------------------------------------ scopes


async def test_a_scope_never_leaves_out_what_is_in_it(log: EventLog) -> None:
    events = [
        an_event(number, kind=1 + number % 2, subject_id=f"subject-{number % 7}")._replace(
            issuer_id=ISSUER if number % 3 else "ISSUER0002"
        )
        for number in range(210)
    ]
    for event in events:
        await log.append(event)
    scopes = [Scope(ISSUER), Scope(ISSUER, 1), Scope(ISSUER, 2, "subject-3"), Scope("ISSUER0002", 1, "subject-6")]

    for scope in scopes:
        wanted = [
            event
            for event in events
            if event.issuer_id == scope.issuer_id
            and scope.kind in (None, event.kind)
            and scope.subject_id in (None, event.subject_id)
        ]
        found, after = [], 0
        while (read := await log.read(after, 4, scope)).through > after:
            assert len(read.events) <= 4
            assert all(after < stored.sequence <= read.through for stored in read.events)
            assert all(one.sequence < other.sequence for one, other in pairwise(read.events))
            found += [stored.event for stored in read.events]
            after = read.through
        assert after == 210
        assert [event for event in found if event in wanted] == wanted


async def test_one_card_is_read_without_the_others(log: EventLog) -> None:
    for number in range(60):
        await log.append(an_event(number, subject_id=f"card-{number % 20}", payload=bytes(10_000)))

    read = await log.read(0, 1000, Scope(ISSUER, 1, "card-7"))

    assert [stored.sequence for stored in read.events] == [8, 28, 48]
    assert read.through >= 48


async def test_a_read_that_large_events_end_early_does_not_pass_over_the_others(log: EventLog) -> None:
    await append_all(log, [an_event(number, subject_id="card-7", payload=bytes(700_000)) for number in range(3)])

    first = await log.read(0, 10, Scope(ISSUER, 1, "card-7"))
    second = await log.read(first.through, 10, Scope(ISSUER, 1, "card-7"))

    assert len(first.events) < 3
    assert [stored.sequence for stored in (*first.events, *second.events)] == [1, 2, 3]


async def test_a_scope_in_which_nothing_is_leads_to_the_end_at_once(log: EventLog) -> None:
    await append_all(log, [an_event(number) for number in range(30)])
    await log.bounds()

    read = await log.read(0, 10, Scope(ISSUER, 1, "card-nobody-has"))

    assert (list(read.events), read.through) == ([], 30)


# ------------------------------------------------------------------------------------------------ growth


async def test_all_that_wait_learn_of_growth_and_only_if_it_is_beyond_their_place(log: EventLog) -> None:
    await log.append(an_event(1))
    async with asyncio.timeout(10):
        await log.wait_beyond(0)
    near = [asyncio.create_task(log.wait_beyond(1)) for _ in range(20)]
    far = asyncio.create_task(log.wait_beyond(2))
    await asyncio.sleep(0.1)
    assert not any(each.done() for each in near)

    near.pop().cancel()
    await log.append(an_event(2))

    async with asyncio.timeout(10):
        await asyncio.gather(*near)
    assert not far.done()
    await log.append(an_event(3))
    async with asyncio.timeout(10):
        await far


async def test_neither_a_duplicate_nor_a_commit_is_growth(log: EventLog) -> None:
    await log.append(an_event(1))
    waiting = asyncio.create_task(log.wait_beyond(1))

    await log.append(an_event(1))
    await log.commit(ISSUER, "fraud", 1, 1_000)
    await asyncio.sleep(0.2)

    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_growth_that_another_gateway_makes_is_learnt_of(shared_engine: StorageEngine) -> None:
    async with shared_engine.opened() as one, shared_engine.opened() as other:
        for number in range(1, 6):
            waiting = asyncio.create_task(one.log.wait_beyond(number - 1))
            await asyncio.sleep(0.02 * number)

            await other.log.append(an_event(number))

            async with asyncio.timeout(10):
                await waiting
            assert (await one.log.read(number - 1, 10)).events[0].event == an_event(number)


async def test_what_another_gateway_stored_is_in_the_bounds_at_once(shared_engine: StorageEngine) -> None:
    async with shared_engine.opened() as one, shared_engine.opened() as other:
        for number in range(1, 20):
            await other.log.append(an_event(number))

            assert await one.log.bounds() == LogBounds(trimmed_through=0, last=number)


# ------------------------------------------------------------------------------------------------ times


async def test_a_time_leads_to_the_first_event_taken_then_or_later(log: EventLog) -> None:
    for number in range(1, 101):
        await log.append(an_event(number, time_ms=10_000 * number))

    assert await log.sequence_before(0) == 0
    assert await log.sequence_before(10_000) == 0
    assert await log.sequence_before(10_001) == 1
    assert await log.sequence_before(500_000) == 49
    assert await log.sequence_before(995_000) == 99
    assert await log.sequence_before(1_000_000) == 99
    assert await log.sequence_before(1_000_001) == 100


@pytest.mark.parametrize(
    "times",
    [
        # As with two gateways, one of whose clocks is two seconds behind.
        pytest.param([1_000 * number - 2_000 * (number % 2) for number in range(10, 60)], id="two clocks"),
        pytest.param([100, 200, 200, 400, 300, 500], id="equal times, and a clock that went back"),
    ],
)
async def test_nothing_is_missed_if_events_are_out_of_order(log: EventLog, times: list[int]) -> None:
    for number, time_ms in enumerate(times, 1):
        await log.append(an_event(number, time_ms=time_ms))

    for wanted_ms in {each + some for each in times for some in (-1, 0, 1, 50, 500)}:
        expected = next((place for place, time_ms in enumerate(times) if time_ms >= wanted_ms), len(times))
        assert await log.sequence_before(wanted_ms) == expected
