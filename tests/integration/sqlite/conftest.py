import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.sqlite import SqliteEventLog, SqliteStorage
from tests.integration.sqlite.sqlite_events import opened_storage


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("event-log")] == []
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
async def storage(path: Path) -> AsyncIterator[SqliteStorage]:
    async with opened_storage(path) as storage:
        yield storage


@pytest.fixture
async def log(storage: SqliteStorage) -> SqliteEventLog:
    return storage.log
