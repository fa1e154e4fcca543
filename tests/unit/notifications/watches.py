"""What the tests of watching share."""

import asyncio
from collections.abc import AsyncGenerator, Iterable

from gateway.notifications import cursor
from gateway.notifications.filter import Predicate, predicate
from gateway.notifications.start import Start
from gateway.notifications.watch import Watch, Watchers
from gateway.ports import StoredSubscription
from issuer.notification.v1 import messages_pb2 as notification
from tests.fakes import ISSUER, FakeEventLog, FakeSubscriptionLeases, an_event

EARLIEST = Start(earliest=True)
LATEST = Start()

_PATIENCE_SECONDS = 20


def a_log_of(count: int) -> FakeEventLog:
    """Make a log that holds op-1 to op-count at the sequences of their numbers."""
    log = FakeEventLog()
    for number in range(1, count + 1):
        log.put(an_event(number))
    return log


def a_subscribed_log_of(count: int, *names: str) -> FakeEventLog:
    """Make the same log, with subscriptions that begin before op-1."""
    log = a_log_of(count)
    for name in names:
        log.subscriptions[ISSUER, name] = StoredSubscription(ISSUER, name, 0, 0)
    return log


def only(*cards: str) -> Predicate:
    return predicate(ISSUER, notification.NotificationFilter(card_ids=cards))


def watchers_of(log: FakeEventLog) -> Watchers:
    return Watchers(log, FakeSubscriptionLeases())


async def settle() -> None:
    """Let all that runs come to where it waits: fakes take turns of the loop, but no time."""
    for _ in range(1000):
        await asyncio.sleep(0)


def a_watch(
    start: Start = EARLIEST,
    *,
    wants: Predicate | None = None,
    max_batch_size: int = 100,
    heartbeat_seconds: float = 30.0,
) -> Watch:
    """Ask for everything of the issuer, unless told otherwise."""
    everything = predicate(ISSUER, notification.NotificationFilter())
    return Watch(
        start,
        wants or everything,
        max_batch_size,
        heartbeat_seconds,
        whole_issuer=ISSUER if wants is None else None,
    )


async def receive(stream: AsyncGenerator[bytes, None]) -> notification.WatchNotificationsResponse:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        return notification.WatchNotificationsResponse.FromString(await anext(stream))


async def collect(
    stream: AsyncGenerator[bytes, None], log: FakeEventLog, through: int
) -> list[notification.WatchNotificationsResponse]:
    """Take messages until one stands at a sequence, then close the stream."""
    messages = [await receive(stream)]
    while messages[-1].cursor != cursor.encode(log.log_id, through):
        messages.append(await receive(stream))
    await stream.aclose()
    return messages


def operations(messages: Iterable[notification.WatchNotificationsResponse]) -> list[str]:
    return [each.three_ds_operation.operation_id for message in messages for each in message.notifications]
