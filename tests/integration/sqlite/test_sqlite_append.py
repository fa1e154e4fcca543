"""How appends and changes share transactions, and what becomes of those that fail or are given up."""

import asyncio
from pathlib import Path

import pytest

from adapters.sqlite import SqliteEventLog, SqliteStorage
from tests.integration.sqlite.sqlite_events import ISSUER, append_all, event, locked, numbers, unavailable


async def test_of_duplicates_that_arrive_together_the_first_one_is_stored(log: SqliteEventLog) -> None:
    events = [event(number, payload=b"%d" % place) for place, number in enumerate((0, 1, 1, 2, 0, 3, 3))]

    assert await append_all(log, events) == [True, True, False, True, False, True, False]

    assert [stored.event for stored in (await log.read(0, 10)).events] == [events[place] for place in (0, 1, 3, 5)]


async def test_a_duplicate_of_an_event_that_was_not_stored_is_not_called_one(log: SqliteEventLog, path: Path) -> None:
    with locked(path):
        outcomes = await asyncio.gather(log.append(event(1)), log.append(event(1)), return_exceptions=True)
        for outcome in outcomes:
            assert isinstance(outcome, Exception)
            with unavailable():
                raise outcome

    assert await log.append(event(1))


async def test_many_appends_at_once_share_few_transactions_and_keep_their_order(storage: SqliteStorage) -> None:
    log, before = storage.log, storage.commit_count

    await append_all(log, [event(number, time_ms=5_000 - number) for number in range(2_000)])

    assert storage.commit_count - before <= 100
    assert await numbers(log) == list(range(2_000))


async def test_appends_and_changes_share_a_transaction(storage: SqliteStorage) -> None:
    log, before = storage.log, storage.commit_count
    first = asyncio.ensure_future(log.append(event(0)))
    await asyncio.sleep(0)
    await asyncio.gather(
        *(log.append(event(number)) for number in range(1, 300)),
        *(log.commit(ISSUER, f"watcher-{number}", number, 7) for number in range(50)),
        *(storage.key_value_store.put(f"key-{number}", b"value", 60) for number in range(50)),
    )

    assert await first
    assert storage.commit_count - before == 2
    assert await numbers(log) == list(range(300))
    assert {each.name: each.committed for each in await log.list_subscriptions(ISSUER)} == {
        f"watcher-{number}": number for number in range(50)
    }
    assert await storage.key_value_store.get("key-49") == b"value"


async def test_an_append_whose_caller_gives_up_disturbs_nobody(log: SqliteEventLog) -> None:
    waiting = [asyncio.ensure_future(log.append(event(number))) for number in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()

    assert await waiting[0]
    assert await waiting[2]
    with pytest.raises(asyncio.CancelledError):
        await waiting[1]
    assert await log.append(event(3))
    assert await numbers(log) == [0, 1, 2, 3]


async def test_what_cannot_be_stored_fails_alone(storage: SqliteStorage) -> None:
    no_unicode = "\ud800"

    stored, broken, put, broken_put, later = await asyncio.gather(
        storage.log.append(event(0)),
        storage.log.append(event(1)._replace(consumer_id=no_unicode)),
        storage.key_value_store.put("a", b"one", 60),
        storage.key_value_store.put(no_unicode, b"no Unicode", 60),
        storage.log.append(event(2)),
        return_exceptions=True,
    )

    assert (stored, put, later) == (True, None, True)
    assert isinstance(broken, UnicodeEncodeError)
    assert isinstance(broken_put, UnicodeEncodeError)
    assert await numbers(storage.log) == [0, 2]
    assert await storage.key_value_store.get("a") == b"one"
