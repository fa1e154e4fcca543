"""The key-value store beside the event log."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from adapters.sqlite import SqliteStorage
from gateway.errors import GatewayError
from gateway.settings import EventLogSettings
from tests.integration.sqlite.sqlite_events import (
    NO_STORE,
    append_all,
    event,
    locked,
    numbers,
    opened_storage,
    unavailable,
)

MEBIBYTE = 1_048_576


def held(path: Path) -> int:
    """Return the number of entries in the file, expired ones included."""
    with closing(sqlite3.connect(path)) as database:
        count: int = database.execute("SELECT count(*) FROM entry").fetchone()[0]
        return count


async def test_an_entry_is_gone_the_moment_its_time_is_over(path: Path) -> None:
    now_ms = 1_000
    async with opened_storage(path, now_ms=lambda: now_ms) as storage:
        store = storage.key_value_store
        await store.put("a", b"one", 10)
        assert await store.put_if_absent("b", b"one", 0.5) is None
        now_ms = 1_499
        assert await store.get("b") == b"one"

        now_ms = 1_500
        assert await store.get("b") is None
        assert await store.put_if_absent("b", b"two", 10) is None
        now_ms = 10_999
        assert await store.put_if_absent("a", b"two", 10) == b"one"
        now_ms = 11_000
        assert await store.put_if_absent("a", b"three", 10) is None

        assert (await store.get("a"), await store.get("b")) == (b"three", b"two")


async def test_trimming_removes_what_has_expired_a_few_at_a_time(path: Path) -> None:
    now_ms = 0
    async with opened_storage(path, now_ms=lambda: now_ms) as storage:
        puts = (storage.key_value_store.put(f"key-{each}", b"value", 1 if each % 2 else 100) for each in range(1_000))
        await asyncio.gather(*puts)
        now_ms = 50_000
        before = storage.commit_count

        assert await storage.key_value_store.trim() == 500

        assert storage.commit_count - before == 6
        assert held(path) == 500
        assert await storage.key_value_store.get("key-0") == b"value"
        assert await storage.key_value_store.trim() == 0


async def test_expired_entries_are_removed_regularly(path: Path) -> None:
    now_ms = 0
    async with opened_storage(path, trim_interval_seconds=0.02, now_ms=lambda: now_ms) as storage:
        await storage.key_value_store.put("key", b"value", 1)
        assert held(path) == 1
        now_ms = 1_000
        async with asyncio.timeout(10):
            while held(path):  # noqa: ASYNC110  nothing tells of a trim
                await asyncio.sleep(0.02)


async def test_many_and_large_entries_cost_no_event(path: Path) -> None:
    async with opened_storage(path, retention=EventLogSettings(retention_bytes=MEBIBYTE)) as storage:
        await append_all(storage.log, [event(number, payload=bytes(1_000)) for number in range(500)])
        puts = [storage.key_value_store.put(f"small-{each}", bytes(each % 400), 60) for each in range(5_000)]
        puts += [storage.key_value_store.put(f"medium-{each}", bytes(1_200), 60) for each in range(1_000)]
        puts += [storage.key_value_store.put(f"large-{each}", bytes(60_000), 60) for each in range(20)]
        await asyncio.gather(*puts)

        assert await storage.log.trim() == 0

        assert await numbers(storage.log) == list(range(500))


async def test_storage_that_fails_is_told_as_the_store_s_and_recovers(storage: SqliteStorage, path: Path) -> None:
    store = storage.key_value_store
    await store.put("key", b"one", 60)
    with locked(path):
        for call in (store.put("key", b"two", 60), store.put_if_absent("new", b"one", 60), store.delete("key", b"one")):
            with unavailable(NO_STORE):
                await call
        assert await store.get("key") == b"one"

    assert await store.put_if_absent("new", b"two", 60) is None


async def test_a_failed_put_and_an_append_beside_it_name_their_own_reasons(storage: SqliteStorage, path: Path) -> None:
    with locked(path):
        outcomes = await asyncio.gather(
            storage.key_value_store.put("a", b"one", 60), storage.log.append(event(1)), return_exceptions=True
        )

    reasons = [outcome.reason_name for outcome in outcomes if isinstance(outcome, GatewayError)]
    assert reasons == ["STORE_UNAVAILABLE", "EVENT_LOG_UNAVAILABLE"]
