"""Events to store, and logs to store them in."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from adapters.sqlite import SqliteEventLog, SqliteStorage
from gateway.errors import GatewayError, Reason
from gateway.ports import Event
from gateway.settings import EventLogSettings
from issuer.common.v1 import error_pb2
from tests.conformance.storage_engines import ISSUER, numbers
from tests.conformance.storage_engines import an_event as event

__all__ = ["ISSUER", "NO_STORE", "append_all", "event", "locked", "numbers", "opened", "opened_storage", "unavailable"]

NO_STORE = error_pb2.ERROR_REASON_STORE_UNAVAILABLE


@asynccontextmanager
async def opened_storage(
    path: Path,
    *,
    retention: EventLogSettings | None = None,
    trim_interval_seconds: float = 3600.0,
    now_ms: Callable[[], int] = lambda: 0,
) -> AsyncIterator[SqliteStorage]:
    storage = await SqliteStorage.open(
        path, retention=retention, trim_interval_seconds=trim_interval_seconds, now_ms=now_ms
    )
    try:
        yield storage
    finally:
        await storage.close()


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SqliteEventLog]:
    """Open a storage for its log alone, with the options of `opened_storage`."""
    async with opened_storage(path, **options) as storage:
        yield storage.log


async def append_all(log: SqliteEventLog, events: Sequence[Event]) -> list[bool]:
    """Store events concurrently, all of them at once."""
    return await asyncio.gather(*(log.append(each) for each in events))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock, like another program with the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


@contextmanager
def unavailable(reason: Reason = error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE) -> Iterator[None]:
    with pytest.raises(GatewayError) as raised:
        yield
    assert raised.value.reason == reason
    assert raised.value.outcome == error_pb2.ERROR_OUTCOME_REJECTED
    assert raised.value.retry_after_seconds == 1.0
