"""Both storage engines, and events for them."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from adapters.nats import NatsStorage
from adapters.sqlite import SqliteStorage
from gateway.errors import GatewayError, Reason
from gateway.ports import Event, EventLog, Storage, StoredEvent
from gateway.settings import EventLogSettings, NatsSettings
from issuer.common.v1 import error_pb2
from sandbox.nats import NatsServer

ISSUER = "ISSUER0001"
LOG_DOWN = error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE
STORE_DOWN = error_pb2.ERROR_REASON_STORE_UNAVAILABLE
ODD_TEXTS = [
    *("", ".", "a.b", "a b", "a/b:c", "a*", ">", "=YQ", "YQ", "a", "A", "ä", "\r\n", "\0", "#"),
    *("x" * length for length in (64, 65, 5000, 5001)),
]
"""Texts that an engine may take for something else, or for each other."""


class StorageEngine(Protocol):
    def opened(self, *, retention: EventLogSettings | None = None) -> AbstractAsyncContextManager[Storage]:
        """Open the storage during the context, like a gateway."""

    async def break_down(self) -> None:
        """Break the engine while storages are open."""

    async def mend(self) -> None:
        """Repair the engine once no storage is open."""


class SqliteEngine:
    """A file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "d1-gateway.db"

    @asynccontextmanager
    async def opened(self, *, retention: EventLogSettings | None = None) -> AsyncIterator[Storage]:
        interval = 60.0 if retention is None else 0.05
        storage = await SqliteStorage.open(self._path, retention=retention, trim_interval_seconds=interval)
        try:
            yield storage
        finally:
            await storage.close()

    async def break_down(self) -> None:
        self._path.rename(self._path.with_name("moved.db"))

    async def mend(self) -> None:
        self._path.with_name("moved.db").rename(self._path)


class NatsEngine:
    """A server, with a prefix for each test."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self.prefix = f"test-{secrets.token_hex(6)}"

    @asynccontextmanager
    async def opened(self, *, retention: EventLogSettings | None = None) -> AsyncIterator[NatsStorage]:
        storage = await NatsStorage.open(
            NatsSettings(
                servers=(self._server.url,),
                prefix=self.prefix,
                replicas=1,
                # The machine may be busy with other tests.
                request_timeout_seconds=10.0,
            ),
            retention=retention,
        )
        try:
            yield storage
        finally:
            await storage.close()

    async def break_down(self) -> None:
        await self._server.kill()

    async def mend(self) -> None:
        await self._server.restart()


def uses(storage: Storage) -> Sequence[tuple[Reason, Callable[[], Coroutine[object, object, object]]]]:
    """List all calls of a storage with the reasons of their errors. The first one writes."""
    log, entries = storage.log, storage.key_value_store
    return (
        (LOG_DOWN, lambda: log.append(an_event(99))),
        (LOG_DOWN, lambda: log.append_in_order([an_event(99), an_event(100)])),
        (STORE_DOWN, lambda: entries.put("key", b"value", 60)),
        (LOG_DOWN, lambda: log.read(0, 10)),
        (LOG_DOWN, log.bounds),
        (LOG_DOWN, lambda: log.sequence_before(1_000)),
        (LOG_DOWN, lambda: log.wait_beyond(1_000_000)),
        (LOG_DOWN, lambda: log.get_subscription(ISSUER, "fraud")),
        (LOG_DOWN, lambda: log.list_subscriptions(ISSUER)),
        (LOG_DOWN, log.list_subscriptions),
        (LOG_DOWN, lambda: log.commit(ISSUER, "fraud", 1, 1)),
        (LOG_DOWN, lambda: log.create_subscription(ISSUER, "fraud", 1, 1)),
        (LOG_DOWN, lambda: log.begin_watch(ISSUER, "fraud", 1)),
        (LOG_DOWN, lambda: log.reset_subscription(ISSUER, "fraud", 1, 1, 0)),
        (LOG_DOWN, lambda: log.delete_subscription(ISSUER, "fraud")),
        (STORE_DOWN, lambda: entries.get("key")),
        (STORE_DOWN, lambda: entries.wait("absent", 60)),
        (STORE_DOWN, lambda: entries.put_if_absent("key", b"value", 60)),
        (STORE_DOWN, lambda: entries.delete("key", b"value")),
    )


async def failure_reason(use: Coroutine[object, object, object]) -> Reason:
    """Await a call that must fail. Returns the reason of its error."""
    with pytest.raises(GatewayError) as raised:
        async with asyncio.timeout(10):
            await use
    assert raised.value.outcome == error_pb2.ERROR_OUTCOME_REJECTED
    assert raised.value.retry_after_seconds == 1.0
    return raised.value.reason


def an_event(
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


async def append_all(log: EventLog, events: Sequence[Event]) -> list[bool]:
    """Store events concurrently, as many at a time as NATS takes."""
    return [
        is_new
        for start in range(0, len(events), 64)
        for is_new in await asyncio.gather(*(log.append(each) for each in events[start : start + 64]))
    ]


async def read_all(log: EventLog, after: int = 0, limit: int = 1000) -> list[StoredEvent]:
    """Read to the end, like a watcher."""
    found: list[StoredEvent] = []
    while (read := await log.read(after, limit)).through > after:
        found += read.events
        after = read.through
    return found


async def numbers(log: EventLog) -> list[int]:
    return [int(stored.event.operation_id.removeprefix("operation-")) for stored in await read_all(log)]
