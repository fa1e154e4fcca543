"""Events that are stored in order, through every outage."""

import asyncio
from contextlib import suppress

from adapters.nats import NatsStorage
from gateway.errors import GatewayError
from gateway.ports import Event
from tests.conformance.storage_engines import an_event, read_all

__all__ = ["held", "ordered_events", "reached", "store"]

_PATIENCE_SECONDS = 50.0
_AT_ONCE = 500


def ordered_events(count: int) -> list[Event]:
    """Make events of some cards, which take turns, and of no consumer."""
    return [
        an_event(number, subject_id=f"card-{number % 101}", time_ms=number, payload=b"payload" * 40)._replace(
            consumer_id=""
        )
        for number in range(count)
    ]


async def store(storage: NatsStorage, events: list[Event]) -> int:
    """Store events with as many attempts as needed. Returns the number of failed ones."""
    failures = 0
    for start in range(0, len(events), _AT_ONCE):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                try:
                    await storage.log.append_in_order(events[start : start + _AT_ONCE])
                    break
                except GatewayError:
                    failures += 1
                    await asyncio.sleep(0.1)
    return failures


async def reached(storage: NatsStorage, place: int) -> None:
    """Wait until ``place`` events are stored, through every outage."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            with suppress(GatewayError):
                await storage.log.wait_beyond(place)
                return
            await asyncio.sleep(0.05)


async def held(storage: NatsStorage) -> list[Event]:
    """Return all events in the log."""
    return [stored.event for stored in await read_all(storage.log)]
