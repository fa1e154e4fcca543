"""A database file that is removed under an open log: nothing more is acknowledged."""

# ruff: noqa: ASYNC240  the files are small and nothing else runs
import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from adapters.sqlite import SqliteStorage
from tests.integration.sqlite.sqlite_events import (
    ISSUER,
    NO_STORE,
    append_all,
    event,
    numbers,
    opened,
    opened_storage,
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


LOSSES = pytest.mark.parametrize("lose", [delete, delete_all, move, replace])


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


async def test_a_file_that_is_gone_is_noticed_while_nothing_is_appended(path: Path) -> None:
    async with opened_storage(path, trim_interval_seconds=0.02) as storage:
        waiter = asyncio.ensure_future(storage.log.wait_beyond(0))
        await asyncio.sleep(0)
        path.unlink()

        async with asyncio.timeout(10):
            with unavailable():
                await waiter


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
