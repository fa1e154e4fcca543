"""Storing events: order, duplicates, and how appends share transactions."""

import asyncio
from pathlib import Path

import pytest

from adapters.sqlite import SqliteEventLog, SqliteStorage
from tests.integration.sqlite.sqlite_events import append_all, event, locked, numbers, opened, unavailable


async def test_events_are_kept_whole_and_in_the_order_of_arrival(log: SqliteEventLog) -> None:
    events = [event(number, time_ms=5_000 - number, payload=bytes([number])) for number in range(200)]

    assert await append_all(log, events) == [True] * 200

    stored = (await log.read(0, 1000)).events
    assert [each.event for each in stored] == events
    assert [each.sequence for each in stored] == list(range(1, 201))


async def test_a_duplicate_gets_a_204_but_is_not_stored_again(log: SqliteEventLog) -> None:
    assert await log.append(event(1, payload=b"first"))

    assert not await log.append(event(1, payload=b"second"))

    assert [stored.event.payload for stored in (await log.read(0, 10)).events] == [b"first"]


async def test_of_duplicates_that_arrive_together_the_first_one_is_stored(log: SqliteEventLog, path: Path) -> None:
    with locked(path):  # So that all of them wait for the same transaction.
        appends = asyncio.gather(*(log.append(event(number)) for number in (0, 1, 1, 2, 0, 3, 3)))
        await asyncio.sleep(0.05)

    assert await appends == [True, True, False, True, False, True, False]
    assert await numbers(log) == [0, 1, 2, 3]


async def test_a_duplicate_is_recognised_after_a_restart(path: Path) -> None:
    async with opened(path) as log:
        assert await append_all(log, [event(1), event(2)]) == [True, True]

    async with opened(path) as log:
        assert await append_all(log, [event(2), event(3), event(1)]) == [False, True, False]
        assert await numbers(log) == [1, 2, 3]


async def test_the_same_operation_id_of_another_subject_kind_or_issuer_is_another_event(log: SqliteEventLog) -> None:
    first = event(1)
    events = [
        first,
        first._replace(subject_id="card-2"),
        first._replace(kind=2),
        first._replace(issuer_id="issuer0002"),
    ]

    assert await append_all(log, events) == [True] * 4
    assert await append_all(log, events) == [False] * 4
    assert [stored.event for stored in (await log.read(0, 10)).events] == events


async def test_a_duplicate_of_an_event_that_could_not_be_stored_is_not_called_one(
    log: SqliteEventLog, path: Path
) -> None:
    with locked(path):
        outcomes = await asyncio.gather(log.append(event(1)), log.append(event(1)), return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, Exception)
            with unavailable():
                raise outcome

    assert await log.append(event(1))


async def test_many_appends_at_once_share_few_transactions(storage: SqliteStorage) -> None:
    log, before = storage.log, storage.commit_count

    await append_all(log, [event(number) for number in range(2_000)])

    assert storage.commit_count - before <= 100
    assert await numbers(log) == list(range(2_000))


async def test_appends_and_changes_share_a_transaction(storage: SqliteStorage, path: Path) -> None:
    log, before = storage.log, storage.commit_count
    with locked(path):
        first = asyncio.ensure_future(log.append(event(0)))
        await asyncio.sleep(0.05)
        together = asyncio.gather(
            *(log.append(event(number)) for number in range(1, 300)),
            *(log.commit("issuer0001", f"watcher-{number}", number, 7) for number in range(50)),
            *(storage.key_value_store.put(f"key-{number}", b"value", 60) for number in range(50)),
        )
        await asyncio.sleep(0.05)

    assert await first
    await together
    assert storage.commit_count - before == 2
    assert await numbers(log) == list(range(300))
    assert {each.name: each.committed for each in await log.list_subscriptions("issuer0001")} == {
        f"watcher-{number}": number for number in range(50)
    }
    assert await storage.key_value_store.get("key-49") == b"value"


async def test_an_append_whose_caller_gives_up_disturbs_nobody(log: SqliteEventLog, path: Path) -> None:
    with locked(path):
        waiting = [asyncio.ensure_future(log.append(event(number))) for number in range(3)]
        await asyncio.sleep(0.05)
        waiting[1].cancel()

    assert await waiting[0]
    assert await waiting[2]
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
    assert await log.append(event(3))
    assert await numbers(log) == [0, 1, 2, 3]


async def test_an_event_that_cannot_be_stored_fails_alone(log: SqliteEventLog, path: Path) -> None:
    no_unicode = event(1)._replace(consumer_id="\ud800")
    with locked(path):
        appends = asyncio.gather(
            *(log.append(each) for each in (event(0), no_unicode, event(2))), return_exceptions=True
        )
        await asyncio.sleep(0.05)

    first, broken, third = await appends
    assert (first, third) == (True, True)
    assert isinstance(broken, UnicodeEncodeError)
    assert await numbers(log) == [0, 2]
