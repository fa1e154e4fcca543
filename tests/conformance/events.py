"""Events to store, and what both engines do with them."""

import asyncio
from collections.abc import Sequence

from gateway.ports import Event, EventLog, StoredEvent

__all__ = ["ISSUER", "ODD_TEXTS", "an_event", "append_all", "numbers", "read_all"]

ISSUER = "ISSUER0001"
ODD_TEXTS = [
    "",
    ".",
    "a.b",
    "a b",
    "a/b:c",
    "a*",
    ">",
    "=YQ",
    "YQ",
    "a",
    "A",
    "ä",
    "\r\n",
    "\0",
    "#",
    *("x" * length for length in (64, 65, 5000, 5001)),
]
"""Texts that an engine may take for something else, or for each other."""


def an_event(
    number: int, *, kind: int = 1, subject_id: str = "card-1", time_ms: int = 1_000, payload: bytes = b"payload"
) -> Event:
    """Make the event of operation ``operation-<number>``."""
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
    """List the numbers of all events."""
    return [int(stored.event.operation_id.removeprefix("operation-")) for stored in await read_all(log)]
