"""A file of the database that is removed or cut under an open log: nothing more is acknowledged."""

# ruff: noqa: ASYNC240  the files are small and nothing else runs
import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from adapters.sqlite import SqliteEventLog, SqliteStorage
from adapters.sqlite.files import Files, Loss
from tests.integration.sqlite.sqlite_events import (
    ISSUER,
    NO_STORE,
    append_all,
    event,
    numbers,
    opened,
    unavailable,
)


def delete(path: Path) -> None:
    path.unlink()


def delete_all(path: Path) -> None:
    for each in path.parent.glob("events.db*"):
        each.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replace(path: Path) -> None:
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    copy.rename(path)


def move_behind_a_link(path: Path) -> None:
    move(path)
    path.symlink_to(path.with_name("moved.db"))


def delete_the_wal(path: Path) -> None:
    path.with_name("events.db-wal").unlink()


def truncate_the_wal(path: Path) -> None:
    os.truncate(path.with_name("events.db-wal"), 0)


def truncate(path: Path) -> None:
    os.truncate(path, 4_096)


def delete_the_shared_memory(path: Path) -> None:
    path.with_name("events.db-shm").unlink()


LOSSES = pytest.mark.parametrize(
    "lose",
    [
        delete,
        delete_all,
        move,
        replace,
        move_behind_a_link,
        delete_the_wal,
        truncate_the_wal,
        truncate,
        delete_the_shared_memory,
    ],
)


@LOSSES
async def test_an_append_into_a_file_that_is_gone_is_not_acknowledged(
    storage: SqliteStorage, path: Path, lose: Callable[[Path], None]
) -> None:
    await append_all(storage.log, [event(1), event(2)])

    lose(path)

    with unavailable():
        await storage.log.append(event(3))
    with unavailable(NO_STORE):
        await storage.key_value_store.put("key", b"value", 60)


@LOSSES
async def test_once_the_file_is_gone_every_call_fails_and_the_log_of_the_gateway_says_so_once(
    storage: SqliteStorage, path: Path, lose: Callable[[Path], None]
) -> None:
    log = storage.log
    await append_all(log, [event(1), event(2)])
    assert await numbers(log) == [1, 2]
    waiter = asyncio.ensure_future(log.wait_beyond(2))
    await asyncio.sleep(0)
    lose(path)

    with capture_logs() as logged:
        for _ in range(2):
            with unavailable():
                await log.trim()

    assert [(line["event"], line["log_level"]) for line in logged] == [("event_log_file_lost", "critical")]
    calls = (
        waiter,
        log.append(event(4)),
        log.read(0, 1),
        log.bounds(),
        log.sequence_before(0),
        log.wait_beyond(0),
        log.list_subscriptions(ISSUER),
        log.commit(ISSUER, "watcher", 1, 1),
    )
    for call in calls:
        with unavailable():
            await call
    with unavailable(NO_STORE):
        await storage.key_value_store.get("key")


@pytest.mark.parametrize("lose", [delete, delete_the_wal])
async def test_a_file_that_is_gone_is_noticed_while_nothing_is_appended(
    storage: SqliteStorage, lose: Callable[[Path], None], path: Path
) -> None:
    waiter = asyncio.ensure_future(storage.log.wait_beyond(0))
    await asyncio.sleep(0)
    lose(path)

    async with asyncio.timeout(10):
        with unavailable():
            await waiter


@pytest.mark.parametrize("lose", [delete_the_wal, delete_the_shared_memory, move_behind_a_link])
async def test_what_was_acknowledged_before_a_loss_survives_a_kill_after_it(
    storage: SqliteStorage, path: Path, tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    await append_all(storage.log, [event(number) for number in range(20)])
    lose(path)
    with unavailable():
        await storage.log.append(event(20))

    left = tmp_path / "left"
    left.mkdir()
    # What a killed process leaves behind, at the time of the refusal.
    for each in tmp_path.glob("events.db*"):
        shutil.copy(each, left / each.name)
    async with opened(left / "events.db") as log:
        assert (await numbers(log))[:20] == list(range(20))


async def test_a_link_to_the_database_that_leads_elsewhere_ends_acknowledgements(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    async with opened(link) as log:
        assert await log.append(event(1))
        link.unlink()
        link.symlink_to(tmp_path / "other.db")

        with unavailable():
            await log.append(event(2))


async def test_a_wal_truncated_by_accident_is_not_copied_into_the_database(path: Path) -> None:
    async with opened(path) as log:
        await append_all(log, [event(number) for number in range(20)])
        with closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint")
        assert await log.append(event(20))
        truncate_the_wal(path)
        with unavailable():
            await log.append(event(21))

    async with opened(path) as log:
        assert await numbers(log) == list(range(20))


@pytest.mark.parametrize("statement", ["PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "VACUUM INTO '{}.backup'"])
async def test_other_programs_may_back_up_and_shrink_the_database(
    log: SqliteEventLog, path: Path, statement: str
) -> None:
    expected = list(range(100))
    await append_all(log, [event(number, payload=bytes(5_000)) for number in expected])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for number in (100, 101):
            other.execute("DELETE FROM event WHERE sequence BETWEEN 10 AND 80")
            other.execute(statement.format(path.with_name(f"{number}")))
            assert await log.append(event(number))
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            assert await log.append(event(number + 100))

    assert await numbers(log) == [*range(9), *range(80, 100), 100, 200, 101, 201]


@pytest.mark.parametrize("statement", ["SELECT 1", "VACUUM"])
async def test_a_database_may_grow_between_being_shrunk_and_being_looked_at(
    log: SqliteEventLog, path: Path, statement: str
) -> None:
    await append_all(log, [event(number, payload=bytes(5_000)) for number in range(100)])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute("DELETE FROM event WHERE sequence BETWEEN 10 AND 80")
        other.execute(statement)
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.execute("CREATE TABLE grown AS SELECT zeroblob(500000)")

        assert await log.append(event(100))
        assert await log.append(event(101))


def test_a_truncated_database_is_noticed_although_its_pages_are_in_the_write_ahead_log(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE grown AS SELECT zeroblob(50000)")
        with closing(Files(path, path)) as files:
            writer.execute("PRAGMA wal_checkpoint")
            assert files.find_loss() is None
            truncate(path)

            assert files.find_loss() == Loss(str(path), "was truncated")


async def test_the_write_ahead_log_begins_again_without_an_alarm(log: SqliteEventLog, path: Path) -> None:
    sizes = []
    for number in range(150):
        assert await log.append(event(number, payload=bytes(200_000)))
        sizes.append(path.with_name("events.db-wal").stat().st_size)

    assert sizes[-1] == sizes[-2], "the log was not overwritten from its beginning"


async def test_a_new_connection_does_not_read_the_file_that_took_its_place(storage: SqliteStorage, path: Path) -> None:
    await storage.log.append(event(1))
    replace(path)

    with unavailable():  # The first read of this log.
        await storage.log.read(0, 1)


async def test_after_a_restart_the_file_in_place_is_used(path: Path) -> None:
    async with opened(path) as log:
        await log.append(event(1))
        path.unlink()
        with unavailable():
            await log.append(event(2))

    async with opened(path) as log:
        assert await log.append(event(2))
        assert await numbers(log) == [2]
