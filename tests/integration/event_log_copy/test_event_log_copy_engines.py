"""Copies between both engines, in this process."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import TypeAlias

import pytest

from gateway.ports import Engine, Event, EventLog, Storage
from gateway.settings import EventLogSettings
from tests.integration.event_log_copy.copy_stage import ISSUERS, Stage, copied, fill, held, left, notifications

Pair: TypeAlias = tuple[Storage, Storage]
SQLITE, NATS = Engine.SQLITE, Engine.NATS


@pytest.fixture(params=[(SQLITE, NATS), (NATS, SQLITE)], ids=["to nats", "to sqlite"])
async def pair(request: pytest.FixtureRequest, stage: Stage) -> AsyncIterator[Pair]:
    """A source and a target, in both directions."""
    source, target = request.param
    async with stage.opened(source) as here, stage.opened(target) as there:
        yield here, there


@pytest.fixture
async def file_and_nats(stage: Stage) -> AsyncIterator[Pair]:
    async with stage.opened(SQLITE) as file, stage.opened(NATS) as nats:
        yield file, nats


async def _subscribe(log: EventLog, places: dict[str, int]) -> None:
    for issuer_id in ISSUERS:
        for name, place in places.items():
            await log.commit(issuer_id, name, place, 1_000_000 + place)


async def test_a_round_trip_changes_nothing(stage: Stage) -> None:
    events = notifications(4_000, seed=1)
    places = {"new": 0, "first": 1, "some": 1_711, "batch": 2_000, "late": 3_999, "all": 4_000}
    async with stage.opened(SQLITE) as old:
        await fill(old.log, events)
        await _subscribe(old.log, places)
        begun = await old.log.list_subscriptions()
        async with stage.opened(NATS) as shared:
            there = await copied(old, shared)

            assert (there.progress.copied, there.subscriptions, there.is_exact) == (4_000, 12, True)
            assert await held(shared.log) == events
            assert await shared.log.list_subscriptions() == begun
    stage.file.rename(stage.folder / "kept.db")

    async with stage.opened(NATS) as shared, stage.opened(SQLITE) as new:
        back = await copied(shared, new)

        assert (back.progress.copied, back.subscriptions, back.is_exact) == (4_000, 12, True)
        assert await held(new.log) == events
        assert await new.log.list_subscriptions() == begun


async def test_a_time_leads_to_the_same_place_in_both_logs(pair: Pair) -> None:
    here, there = pair
    events = notifications(1_200, seed=2)
    chance = random.Random(2)  # noqa: S311  no secret
    begin, end = events[0].receive_time_ms - 100, events[-1].receive_time_ms + 100
    await fill(here.log, events)
    await copied(here, there)

    for time_ms in [begin, end, *(chance.randrange(begin, end) for _ in range(12))]:
        first = next((n for n, event in enumerate(events) if event.receive_time_ms >= time_ms), len(events))
        # There are no gaps in either.
        assert await here.log.sequence_before(time_ms) == first
        assert await there.log.sequence_before(time_ms) == first


async def test_gateways_may_take_notifications_at_the_target_and_no_watcher_misses_any(
    stage: Stage, file_and_nats: Pair
) -> None:
    here, there = file_and_nats
    events, others = notifications(3_000, seed=6), notifications(100, seed=7, first=50_000)
    await fill(here.log, events)
    await _subscribe(here.log, {"fraud": 2_500})

    async def take() -> None:
        await gateway.log.wait_beyond(100)
        for event in others:
            assert await gateway.log.append(event)

    async with stage.opened(NATS) as gateway:
        result, _ = await asyncio.gather(copied(here, there), take())

    assert result.progress.copied == 3_000
    found = await held(there.log)
    assert len(found) == 3_100
    assert set(found) == {*events, *others}
    assert _by_subject(found, {*events}) == _by_subject(events, {*events})
    for events_left in (await left(there.log)).values():
        assert {*events[2_500:], *others} <= set(events_left)


def _by_subject(events: Sequence[Event], wanted: set[Event]) -> dict[tuple[str, int, str], list[Event]]:
    grouped: dict[tuple[str, int, str], list[Event]] = defaultdict(list)
    for event in events:
        if event in wanted:
            grouped[event.issuer_id, event.kind, event.subject_id].append(event)
    return grouped


async def test_nats_keeps_what_it_was_given_for_as_long_as_what_is_new(stage: Stage) -> None:
    events = [event._replace(receive_time_ms=1_000 + number) for number, event in enumerate(notifications(50))]
    retention = EventLogSettings(retention_seconds=600, retention_bytes=67_108_864)
    async with stage.opened(SQLITE) as here, stage.opened(NATS, retention=retention) as there:
        await fill(here.log, events)

        await copied(here, there)
        await asyncio.sleep(1.5)

        assert await held(there.log) == events
        assert await there.log.sequence_before(1_030) == 30


async def test_large_notifications_are_copied(file_and_nats: Pair) -> None:
    here, there = file_and_nats
    events = [event._replace(payload=bytes([number]) * 700_000) for number, event in enumerate(notifications(8))]
    await fill(here.log, events[:5])
    await copied(here, there)
    await fill(there.log, events[5:])
    await copied(there, here)

    assert await held(here.log) == events
    assert await held(there.log) == events
