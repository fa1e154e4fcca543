"""Logs in memory to copy from and into, and what is to come of it."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from gateway.errors import GatewayError
from gateway.notifications.copy import Copied, EventLogCopy, Progress
from gateway.ports import Event, Read, Scope
from tests.fakes import ISSUER, FakeEventLog, FakeKeyValueStore, an_event

_T = TypeVar("_T")


class _Log(FakeEventLog):
    """Hands out a few events at a time, and breaks when it is told to."""

    def __init__(self, log_id: str) -> None:
        super().__init__(log_id=log_id)
        self.appends_left: int | None = None
        """After how many more events it breaks; None for never."""
        self.reads_from: list[int] = []
        self.on_append: Callable[[], object] = lambda: None

    async def append(self, event: Event) -> bool:
        if self.appends_left is not None:
            if not self.appends_left:
                self.fail()
            self.appends_left -= 1
        is_new = await super().append(event)
        self.on_append()
        return is_new

    async def read(self, after: int, limit: int, scope: Scope | None = None) -> Read:
        self.reads_from.append(after)
        return await super().read(after, min(limit, 3), scope)


class FakeSide:
    def __init__(self, log_id: str) -> None:
        self.log = _Log(log_id)
        self.key_value_store = FakeKeyValueStore()

    def put(self, *numbers: int, gap: int = 0) -> None:
        """Take notifications, the first one behind a gap."""
        for number in numbers:
            self.log.put(card_event(number), gap=gap)
            gap = 0

    @property
    def numbers(self) -> list[int]:
        return _numbers(stored.event for stored in self.log.held)

    def left(self, name: str) -> list[int]:
        """What a subscription gets next."""
        committed = self.log.subscriptions[ISSUER, name].committed
        return _numbers(stored.event for stored in self.log.held if stored.sequence > committed)

    async def commit(self, **places: int) -> None:
        for name, place in places.items():
            await self.log.commit(ISSUER, name, place, 7_000 + place)


def card_event(number: int) -> Event:
    """Return the event of a number: two each are the states of one operation."""
    event = an_event(number, card_id=f"card-{number // 2 % 3}")
    return event._replace(operation_id=f"op-{number // 2}", status=number % 2)


async def copied(
    source: FakeSide, target: FakeSide, *, keep_from_ms: int | None = None, reported: list[Progress] | None = None
) -> Copied:
    reported = [] if reported is None else reported
    return await EventLogCopy(source, target, keep_from_ms=keep_from_ms, report=reported.append).run()


async def broken_off(source: FakeSide, target: FakeSide, after: int) -> None:
    """Copy until the target breaks; unless there is less to copy."""
    target.log.appends_left = after
    try:
        await copied(source, target)
    except GatewayError:
        target.log.recover()
    finally:
        target.log.appends_left = None


def driven(work: Coroutine[Any, Any, _T]) -> _T:
    """Run to its end what yields to the event loop, but waits for nothing: without an event loop."""
    try:
        while True:
            work.send(None)
    except StopIteration as ended:
        result: _T = ended.value
        return result


def _numbers(events: Iterable[Event]) -> list[int]:
    return [2 * int(event.operation_id.removeprefix("op-")) + event.status for event in events]
