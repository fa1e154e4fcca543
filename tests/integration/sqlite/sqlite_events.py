"""Events to store, and logs to store them in."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from adapters.sqlite import SqliteEventLog, SqliteStorage
from gateway.errors import GatewayError, Reason
from gateway.ports import Event
from gateway.settings import EventLogSettings
from issuer.common.v1 import error_pb2

__all__ = [
    "ISSUER",
    "append_all",
    "event",
    "locked",
    "numbers",
    "opened",
    "opened_storage",
    "unavailable",
]

ISSUER = "issuer0001"


def event(
    number: int, *, kind: int = 1, subject_id: str = "card-1", time_ms: int = 1_000, payload: bytes = b"payload"
) -> Event:
    return Event(
        issuer_id=ISSUER,
        kind=kind,
        subject_id=subject_id,
        operation_id=f"operation-{number}",
        consumer_id="consumer-1",
        operation_type=1,
        status=2,
        receive_time_ms=time_ms,
        payload=payload,
    )


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
async def opened(
    path: Path,
    *,
    retention: EventLogSettings | None = None,
    trim_interval_seconds: float = 3600.0,
    now_ms: Callable[[], int] = lambda: 0,
) -> AsyncIterator[SqliteEventLog]:
    """Open a storage for its log alone."""
    async with opened_storage(
        path, retention=retention, trim_interval_seconds=trim_interval_seconds, now_ms=now_ms
    ) as storage:
        yield storage.log


async def append_all(log: SqliteEventLog, events: Sequence[Event]) -> list[bool]:
    return await asyncio.gather(*(log.append(each) for each in events))


async def numbers(log: SqliteEventLog) -> list[int]:
    return [int(stored.event.operation_id.removeprefix("operation-")) for stored in (await log.read(0, 100_000)).events]


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
    assert raised.value.outcome == error_pb2.OUTCOME_REJECTED
    assert raised.value.retry_after_seconds == 1.0
