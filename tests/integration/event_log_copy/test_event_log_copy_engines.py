"""Copies between both engines, in this process."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Sequence

import pytest

from gateway.errors import GatewayError
from gateway.notifications import cursor
from gateway.ports import Event, EventLog, StoredSubscription
from gateway.settings import EventLogSettings
from issuer.common.v1 import error_pb2
from tests.integration.event_log_copy.copy_stage import ISSUERS, Engine, Stage, copied, fill, held, left, notifications

WAYS: list[tuple[Engine, Engine]] = [("sqlite", "nats"), ("nats", "sqlite")]


async def _subscribe(log: EventLog, places: dict[str, int]) -> None:
    for issuer_id in ISSUERS:
        for name, place in places.items():
            await log.commit(issuer_id, name, place, 1_000_000 + place)


@pytest.mark.timeout(180)
async def test_a_round_trip_of_20_000_notifications_changes_nothing(stage: Stage) -> None:
    events = notifications(20_000, seed=1)
    places = {"new": 0, "first": 1, "some": 4_711, "batch": 10_000, "late": 19_999, "all": 20_000}
    async with stage.opened("sqlite") as old:
        await fill(old.log, events)
        await _subscribe(old.log, places)
        begun = await old.log.list_subscriptions()
        async with stage.opened("nats") as shared:
            there = await copied(old, shared)

            assert (there.progress.copied, there.subscriptions, there.is_exact) == (20_000, 12, True)
            assert await held(shared.log) == events
            assert await shared.log.list_subscriptions() == begun
    stage.file.rename(stage.folder / "kept.db")

    async with stage.opened("nats") as shared, stage.opened("sqlite") as new:
        back = await copied(shared, new)

        assert (back.progress.copied, back.subscriptions, back.is_exact) == (20_000, 12, True)
        assert await held(new.log) == events
        assert await new.log.list_subscriptions() == begun


@pytest.mark.parametrize(("source", "target"), WAYS)
async def test_a_time_leads_to_the_same_place_in_both_logs(stage: Stage, source: Engine, target: Engine) -> None:
    events = notifications(3_000, seed=2)
    chance = random.Random(2)  # noqa: S311  no secret
    begin, end = events[0].receive_time_ms - 100, events[-1].receive_time_ms + 100
    async with stage.opened(source) as here, stage.opened(target) as there:
        await fill(here.log, events)
        await copied(here, there)

        for time_ms in [begin, end, *(chance.randrange(begin, end) for _ in range(40))]:
            # There are no gaps in either.
            assert await there.log.sequence_before(time_ms) == await here.log.sequence_before(time_ms)
            first = next((n for n, event in enumerate(events) if event.receive_time_ms >= time_ms), len(events))
            assert await there.log.sequence_before(time_ms) == first


@pytest.mark.parametrize(("source", "target"), WAYS)
async def test_an_empty_log_is_copied(stage: Stage, source: Engine, target: Engine) -> None:
    async with stage.opened(source) as here, stage.opened(target) as there:
        await _subscribe(here.log, {"fraud": 0})

        result = await copied(here, there)

        assert (result.progress.seen, result.subscriptions, result.is_exact) == (0, 2, True)
        assert await there.log.list_subscriptions() == await here.log.list_subscriptions()


@pytest.mark.parametrize(("source", "target"), WAYS)
async def test_a_second_copy_does_nothing_and_a_third_one_brings_what_is_new(
    stage: Stage, source: Engine, target: Engine
) -> None:
    events = notifications(2_500, seed=3)
    async with stage.opened(source) as here, stage.opened(target) as there:
        await fill(here.log, events[:2_000])
        await _subscribe(here.log, {"fraud": 1_500})
        await copied(here, there)
        state = await held(there.log), await there.log.list_subscriptions(), await there.log.bounds()

        again = await copied(here, there)

        assert (again.progress.seen, again.progress.earlier, again.subscriptions) == (0, 2_000, 2)
        assert (await held(there.log), await there.log.list_subscriptions(), await there.log.bounds()) == state

        await fill(here.log, events[2_000:])
        await _subscribe(here.log, {"fraud": 2_200})
        result = await copied(here, there)

        assert (result.progress.copied, result.progress.present, result.is_exact) == (500, 0, True)
        assert await held(there.log) == events
        assert await left(there.log) == await left(here.log)


@pytest.mark.parametrize(("source", "target"), WAYS)
async def test_what_the_target_has_already_is_not_stored_again(stage: Stage, source: Engine, target: Engine) -> None:
    events = notifications(3_000, seed=4)
    async with stage.opened(source) as here, stage.opened(target) as there:
        await fill(here.log, events)
        await fill(there.log, events[:1_700])
        await _subscribe(here.log, {"early": 300, "late": 2_000})

        result = await copied(here, there)

        assert (result.progress.copied, result.progress.present, result.is_exact) == (1_300, 1_700, True)
        assert await held(there.log) == events
        assert await left(there.log) == await left(here.log)


@pytest.mark.parametrize(("source", "target"), WAYS)
async def test_duplicates_here_and_there_are_not_stored_again_and_no_cursor_passes_over_them(
    stage: Stage, source: Engine, target: Engine
) -> None:
    events = notifications(3_000, seed=5)
    here_and_there = random.Random(5).sample(events, 300)  # noqa: S311  no secret
    async with stage.opened(source) as here, stage.opened(target) as there:
        await fill(here.log, events)
        await fill(there.log, here_and_there)
        await _subscribe(here.log, {"fraud": 2_000})

        result = await copied(here, there)

        assert (result.progress.copied, result.progress.present) == (2_700, 300)
        found = await held(there.log)
        assert found[:300] == here_and_there
        assert found[300:] == [event for event in events if event not in here_and_there]
        for events_left in (await left(there.log)).values():
            assert set(events[2_000:]) <= set(events_left)


async def test_gateways_may_take_notifications_at_the_target_and_no_watcher_misses_any(stage: Stage) -> None:
    events, others = notifications(6_000, seed=6), notifications(200, seed=7, first=50_000)
    async with stage.opened("sqlite") as here, stage.opened("nats") as there, stage.opened("nats") as gateway:
        await fill(here.log, events)
        await _subscribe(here.log, {"fraud": 5_000})

        async def take() -> None:
            await gateway.log.wait_beyond(100)
            for event in others:
                assert await gateway.log.append(event)

        taking = asyncio.create_task(take())
        result = await copied(here, there)
        await taking

        assert result.progress.copied == 6_000
        found = await held(there.log)
        assert len(found) == 6_200
        assert set(found) == {*events, *others}
        assert _by_subject(found, {*events}) == _by_subject(events, {*events})
        for events_left in (await left(there.log)).values():
            assert {*events[5_000:], *others} <= set(events_left)


def _by_subject(events: Sequence[Event], wanted: set[Event]) -> dict[tuple[str, int, str], list[Event]]:
    grouped: dict[tuple[str, int, str], list[Event]] = defaultdict(list)
    for event in events:
        if event in wanted:
            grouped[event.issuer_id, event.kind, event.subject_id].append(event)
    return grouped


async def test_gateways_may_take_notifications_at_the_source_and_the_next_copy_brings_them(stage: Stage) -> None:
    events = notifications(4_000, seed=8)
    async with stage.opened("nats") as here, stage.opened("nats") as gateway, stage.opened("sqlite") as there:
        await fill(here.log, events[:3_000])

        async def take() -> None:
            for event in events[3_000:]:
                await gateway.log.append(event)
            await _subscribe(gateway.log, {"fraud": 3_500})

        taking = asyncio.create_task(take())
        first = await copied(here, there)
        await taking
        second = await copied(here, there)

        assert first.is_exact
        assert second.is_exact
        assert first.progress.copied + second.progress.copied == 4_000
        assert second.newer == 0
        assert await held(there.log) == events
        assert await left(there.log) == await left(here.log)


async def test_what_was_gone_over_there_and_back_is_not_looked_at_again(stage: Stage) -> None:
    events = notifications(5_000, seed=9)
    async with stage.opened("sqlite") as old, stage.opened("nats") as shared:
        await fill(old.log, events[:3_000])
        await _subscribe(old.log, {"fraud": 2_500})
        await copied(old, shared)
        await fill(shared.log, events[3_000:])
        await _subscribe(shared.log, {"fraud": 4_200})

        result = await copied(shared, old)

        assert (result.progress.seen, result.progress.copied, result.is_exact) == (2_000, 2_000, True)
        assert await held(old.log) == events
        assert await left(old.log) == await left(shared.log)


async def test_what_a_backup_has_brought_is_not_looked_at_again_in_the_file_itself(stage: Stage) -> None:
    events = notifications(3_000, seed=12)
    backup = Stage(stage.server, stage.folder / "backup")
    backup.prefix = stage.prefix
    backup.file.parent.mkdir()
    async with stage.opened("sqlite") as here:
        await fill(here.log, events[:2_500])
        await asyncio.to_thread(stage.back_up, backup.file)
        await fill(here.log, events[2_500:])
        await _subscribe(here.log, {"fraud": 2_700})
        async with backup.opened("sqlite") as copy, stage.opened("nats") as there:
            assert (await copied(copy, there)).progress.copied == 2_500

            result = await copied(here, there)

            assert (result.progress.seen, result.progress.earlier, result.is_exact) == (500, 2_500, True)
            assert await held(there.log) == events
            assert await left(there.log) == await left(here.log)


async def test_what_is_too_old_for_the_file_is_left_out_and_counted(stage: Stage) -> None:
    now_ms = time.time_ns() // 1_000_000
    old = [
        event._replace(receive_time_ms=now_ms - 86_400_000 - number)
        for number, event in enumerate(notifications(1_200, seed=10))
    ]
    events = notifications(1_000, seed=11, first=2_000)
    async with stage.opened("nats") as here, stage.opened("sqlite") as there:
        await fill(here.log, [*old, *events])
        await _subscribe(here.log, {"behind": 700, "right": 1_200, "on": 1_800})

        result = await copied(here, there, keep_from_ms=now_ms - 3_600_000)

        assert (result.progress.copied, result.progress.too_old) == (1_000, 1_200)
        assert await held(there.log) == events
        assert {each.name for each in result.behind} == {"behind"}
        assert {name: len(found) for (_, name), found in (await left(there.log)).items()} == {
            "behind": 1_000,
            "right": 1_000,
            "on": 400,
        }


async def test_nats_keeps_what_it_was_given_for_as_long_as_what_is_new(stage: Stage) -> None:
    events = [event._replace(receive_time_ms=1_000 + number) for number, event in enumerate(notifications(50))]
    retention = EventLogSettings(retention_seconds=600, retention_bytes=67_108_864)
    async with stage.opened("sqlite") as here, stage.opened("nats", retention=retention) as there:
        await fill(here.log, events)

        await copied(here, there)
        await asyncio.sleep(1.5)

        assert await held(there.log) == events
        assert await there.log.sequence_before(1_030) == 30


async def test_a_cursor_of_the_old_log_is_refused_by_the_new_one(stage: Stage) -> None:
    async with stage.opened("sqlite") as here, stage.opened("nats") as there:
        await fill(here.log, notifications(10))
        await copied(here, there)

        with pytest.raises(GatewayError) as refused:
            cursor.parse(cursor.encode(here.log.log_id, 5), there.log.log_id, await there.log.bounds())
        assert refused.value.reason == error_pb2.ERROR_REASON_CURSOR_UNKNOWN


async def test_a_cursor_is_never_moved_back(stage: Stage) -> None:
    async with stage.opened("sqlite") as here, stage.opened("nats") as there:
        await fill(here.log, notifications(100))
        await _subscribe(here.log, {"fraud": 30})
        await copied(here, there)
        await there.log.commit(ISSUERS[0], "fraud", 80, 2_000_000)

        await copied(here, there)

        assert await there.log.list_subscriptions() == [
            StoredSubscription(ISSUERS[0], "fraud", 80, 2_000_000),
            StoredSubscription(ISSUERS[1], "fraud", 30, 1_000_030),
        ]


async def test_large_notifications_are_copied(stage: Stage) -> None:
    events = [event._replace(payload=bytes([number]) * 700_000) for number, event in enumerate(notifications(30))]
    async with stage.opened("sqlite") as here, stage.opened("nats") as there:
        await fill(here.log, events[:20])
        await copied(here, there)
        await fill(there.log, events[20:])
        await copied(there, here)

        found: list[Event] = await held(here.log)
        assert found == events
        assert await held(there.log) == events
