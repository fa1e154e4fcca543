import asyncio
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.notifications.tail_cache import TailCache
from gateway.ports import EventDamagedError, LogBounds, Scope
from tests.fakes import ISSUER, FakeEventLog, an_event
from tests.unit.notifications.watches import a_log_of, settle


async def read(tail: TailCache, after: int, limit: int = 1000) -> list[int]:
    return [stored.sequence for stored in (await tail.read(after, limit)).events]


async def test_an_event_is_read_from_the_log_once_however_many_want_it() -> None:
    log = a_log_of(3)
    tail = TailCache(log)
    await read(tail, 3)
    log.read_count = 0
    log.put(an_event(4))

    answers = await asyncio.gather(*(read(tail, 3) for _ in range(50)))

    assert answers == [[4]] * 50
    assert log.read_count == 1


async def test_a_damaged_event_stops_those_before_it_and_nobody_behind_it() -> None:
    log = a_log_of(3)
    tail = TailCache(log)
    await read(tail, 3)
    for number in range(4, 8):
        log.put(an_event(number))
    log.damaged[5] = False

    answers = await asyncio.gather(*(read(tail, after) for after in (3, 4, 5, 6)), return_exceptions=True)
    again = await asyncio.gather(*(read(tail, after) for after in (3, 4, 5, 6)), return_exceptions=True)

    for found in (answers, again):
        assert found[0] == [4]
        assert isinstance(found[1], EventDamagedError)
        assert found[2:] == [[6, 7], [7]]


async def test_what_was_read_before_is_not_read_again() -> None:
    log = a_log_of(0)
    tail = TailCache(log)
    await read(tail, 0)
    for number in range(1, 6):
        log.put(an_event(number))
    await read(tail, 0)
    log.read_count = 0

    assert [await read(tail, after) for after in range(5)] == [[1, 2, 3, 4, 5][after:] for after in range(5)]
    assert log.read_count == 0


@pytest.mark.parametrize("history", [0, 5])
async def test_what_is_there_is_returned_from_history_or_the_window_but_no_more_than_the_limit(history: int) -> None:
    log = a_log_of(history)
    tail = TailCache(log)
    await read(tail, history)
    for number in range(history + 1, 6):
        log.put(an_event(number))

    assert await read(tail, 0) == [1, 2, 3, 4, 5]
    assert await read(tail, 0, 2) == [1, 2]
    assert await read(tail, 2, 2) == [3, 4]
    assert await read(tail, 5) == await read(tail, 9) == []


async def test_who_lags_and_has_a_scope_skips_the_rest_and_goes_on_in_the_window() -> None:
    log = a_log_of(0)
    for number in range(1, 101):
        log.put(an_event(number, card_id=f"card-{number % 10}"))
    tail = TailCache(log)
    await tail.read(100, 1)
    log.put(an_event(101, card_id="card-3"))
    log.put(an_event(102, card_id="card-4"))
    await tail.read(100, 1)
    scope = Scope(ISSUER, an_event(1).kind, "card-3")

    first = await tail.read(0, 5, scope)
    second = await tail.read(first.through, 50, scope)

    assert [stored.sequence for stored in first.events] == [3, 13, 23, 33, 43]
    assert [stored.sequence for stored in second.events] == [53, 63, 73, 83, 93, 101]
    assert second.through == 102
    log.put(an_event(103, card_id="card-4"))
    assert [stored.sequence for stored in (await tail.read(102, 50, scope)).events] == [103]


@pytest.mark.parametrize("history", [0, 5])
async def test_the_payloads_of_an_issuer_are_given_out_from_history_or_the_window(history: int) -> None:
    log = a_log_of(0)
    events = [an_event(number, issuer_id=ISSUER if number % 2 else "ISSUER0002") for number in range(1, 6)]
    for event in events[:history]:
        log.put(event)
    tail = TailCache(log)
    await read(tail, history)
    for event in events[history:]:
        log.put(event)

    found = await tail.read_payloads(1, 10, ISSUER)
    end = await tail.read_payloads(3, 1, ISSUER)

    assert (found.sequences, found.payloads, found.through) == ([3, 5], [events[2].payload, events[4].payload], 5)
    assert (end.sequences, end.payloads, end.through) == ([], [], 4)


async def test_readers_that_begin_together_agree_where_the_window_begins() -> None:
    class LogWithOneLateAnswer(FakeEventLog):
        delay: asyncio.Event | None = None

        async def bounds(self) -> LogBounds:
            found = await super().bounds()
            delay, self.delay = self.delay, None
            if delay is not None:
                await delay.wait()
            return found

    log = LogWithOneLateAnswer()
    log.delay = late = asyncio.Event()
    tail = TailCache(log)
    first = asyncio.create_task(read(tail, 0))
    await settle()
    for number in (1, 2):
        log.put(an_event(number))
    await read(tail, 2)
    log.put(an_event(3))
    await read(tail, 2)

    late.set()

    assert await first == [1, 2, 3]


async def test_a_reader_at_the_end_after_long_silence_does_not_have_all_read_that_came_meanwhile() -> None:
    log = a_log_of(3)
    tail = TailCache(log)
    await read(tail, 2)
    for number in range(4, 5004):
        log.put(an_event(number))
    log.read_count = 0

    assert await read(tail, 5003) == []
    log.put(an_event(5004))
    assert await read(tail, 5003) == [5004]

    assert log.read_count == 2
    assert await read(tail, 2, 5000) == list(range(3, 5003))
    assert await read(tail, 5002) == [5003, 5004]


async def test_the_window_does_not_grow_without_end() -> None:
    log = a_log_of(0)
    tail = TailCache(log, window=5)
    last = 0
    for number in range(1, 101):
        log.put(an_event(number))
        last = (await read(tail, last))[-1]

    assert last == 100
    assert len(tail._events) <= 10


async def test_large_events_are_held_and_given_out_in_bounds_of_bytes() -> None:
    log = a_log_of(0)
    tail = TailCache(log)
    await read(tail, 0)
    for number in range(1, 101):
        log.put(an_event(number)._replace(payload=bytes(400_000)))
        assert await read(tail, number - 1) == [number]

    assert sum(len(stored.event.payload) for stored in tail._events) <= 17_000_000
    assert await read(tail, 90) == [91, 92, 93]


async def test_a_failure_of_the_log_is_passed_on_and_does_not_stay() -> None:
    log = a_log_of(0)
    tail = TailCache(log)
    await read(tail, 0)
    log.put(an_event(1))
    log.fail()
    with pytest.raises(GatewayError):
        await read(tail, 0)

    log.recover()

    assert await read(tail, 0) == [1]


async def test_a_reader_that_is_cancelled_while_the_window_is_filled_holds_up_nobody() -> None:
    log = a_log_of(0)
    tail = TailCache(log)
    await read(tail, 0)
    log.put(an_event(1))
    first = asyncio.create_task(read(tail, 0))
    second = asyncio.create_task(read(tail, 0))
    await asyncio.sleep(0)

    first.cancel()

    assert await second == [1]


class Scene:
    """A log whose answers take as many turns of the event loop as they are told, and who writes and reads it."""

    def __init__(self, turns: list[int], history: int, window: int) -> None:
        self._pauses = cycle(turns)
        self._log = FakeEventLog(turn=self._turn)
        self._written = [self._log.put(an_event(number)) for number in range(1, history + 1)]
        self._tail = TailCache(self._log, window=window)

    async def write(self, bursts: list[tuple[int, int, bool]]) -> None:
        """Write bursts of so many events, with gaps between their places, and perhaps a trim after each."""
        for count, gap, trims in bursts:
            self._written += [self._log.put(an_event(number), gap=gap) for number in range(count)]
            if trims:
                self._log.trim(self._written[len(self._written) // 2])
            await asyncio.sleep(0)

    async def follow(self, after: int, limit: int, late: int) -> None:
        """Begin so many turns late, read behind a place, and compare."""
        for _ in range(late):
            await asyncio.sleep(0)
        for _ in range(25):
            found = await read(self._tail, after, limit)
            trimmed_through = (await self._log.bounds()).trimmed_through
            if after < trimmed_through:
                # Something may be missing; who looks at the bounds after reading knows.
                after = trimmed_through
                continue
            assert found == [sequence for sequence in self._written if sequence > after][: len(found)]
            after = found[-1] if found else after
            await asyncio.sleep(0)

    async def _turn(self) -> None:
        for _ in range(next(self._pauses)):
            await asyncio.sleep(0)


@given(
    scene=st.builds(
        Scene,
        st.lists(st.integers(0, 5), min_size=1, max_size=12),
        history=st.integers(0, 12),
        window=st.integers(1, 6),
    ),
    readers=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 8), st.integers(0, 6)), min_size=1, max_size=6),
    bursts=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 2), st.booleans()), max_size=8),
)
async def test_whoever_reads_wherever_whenever_gets_what_a_plain_list_holds(
    scene: Scene, readers: list[tuple[int, int, int]], bursts: list[tuple[int, int, bool]]
) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(scene.write(bursts))
        for after, limit, late in readers:
            group.create_task(scene.follow(after, limit, late))
