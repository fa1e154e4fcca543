"""Random lives of cards: their operations are notified or not, fetched, cut off, removed by retention.

A life is played against any event log. With the fake and in virtual time, a seed always plays the same life.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from functools import partial
from random import Random
from types import coroutine
from typing import Any, Final, TypeVar

from gateway.backfill.backfill import Backfill
from gateway.errors import GatewayError
from gateway.notifications.events import event_of
from gateway.ports import EventLog, StoredEvent
from issuer.notification.v1.messages_pb2 import Notification
from issuer.threeds.v1.operation_pb2 import THREE_DS_OPERATION_STATUS_UNSPECIFIED, ThreeDSOperation
from tests.unit.backfill.d1_model import FINAL, PASSING, WAITS, D1Model, a_random_operation
from tests.unit.backfill.life_checks import ISSUER, Run, Seen, identity_of

__all__ = ["Life", "cut_off_at"]

_T = TypeVar("_T")

_CARDS: Final = ("card-1", "card-2")
_SIZES: Final = (0, 1, 2, 5, 5, 10, 10, 20, 49, 50, 51, 60, 99, 100, 101, 130)
_NOW_MS: Final = 1_800_000_000_000
_MINUTE_MS: Final = 60_000
_RETENTION_SECONDS: Final = 30 * 86_400
_MAX_SECONDS: Final = 3 * 86_400
"""Of the event loop's time; nothing here pauses for longer."""


class Life:
    """Two cards at a platform, an event log, and backfills between them."""

    def __init__(
        self,
        seed: int,
        log: EventLog,
        trim: Callable[[int], Awaitable[None]],
        *,
        has_pauses: bool = True,
        outage: Callable[[float], None] | None = None,
    ) -> None:
        """Prepare.

        Args:
            seed: What the life follows from.
            log: The event log.
            trim: Removes the events of the log up to a sequence.
            has_pauses: Whether there are failures for which a backfill pauses, in the event loop's time.
            outage: Makes the log unavailable for some seconds; None if it never is.
        """
        self._random = random = Random(seed)  # noqa: S311  the same life each time
        self._log, self._trim, self._has_pauses, self._outage = log, trim, has_pauses, outage
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._tasks: list[asyncio.Task[None]] = []
        self._removal = asyncio.ensure_future(asyncio.sleep(0))
        self._is_busy, self._removes = random.random() < 0.6, random.random() < 0.25
        self._burst = random.choice((0, 0, 0, 60))
        """How many operations arrive at once, once."""
        self._arrivals_left = 80
        self.history: list[str] = []
        """What happened, for people."""
        self.is_cut_off = False
        """Whether the last backfill that was to be cut off had not come to its end."""
        d1 = D1Model(page_size=random.choice((50, 50, 7, 20)), ignores_offset=random.random() < 0.03)
        d1.during = self._meanwhile
        gap_ms = random.choice((1, 1000, _MINUTE_MS, 10 * _MINUTE_MS))
        self.seen = Seen(
            d1,
            disorder_ms=random.choice((0, 0, 0, 4 * _MINUTE_MS)),
            is_still=not (self._is_busy or self._removes),
        )
        self._d1, self._happened_ms = d1, dict[str, Sequence[int]]()
        self._make_history(gap_ms)
        span_ms = gap_ms * max(map(len, d1.cards.values()), default=0)
        self.seen.since_ms = self._now_ms() - random.choice((0, random.randint(0, span_ms), span_ms, 2 * span_ms))

    async def play(self, crash_step: int | None = None) -> None:
        """Play it, and check it at its end.

        Args:
            crash_step: The step at which a first backfill is cut off; if not given, none, one or two at random steps.
        """
        random = self._random
        async with asyncio.timeout(_MAX_SECONDS):
            await self._notify_before()
            if self._removes:
                await self._remove()
            for _ in range(random.choice((0, 0, 1, 1, 2)) if crash_step is None else 1):
                step = crash_step or random.randint(1, random.choice((5, 60)))
                self._plan_failures(random.randint(0, 1))
                self._note(f"a backfill until step {step}")
                self.is_cut_off = await cut_off_at(step, self._backfill(is_alone=True)) is None
                self.seen.cut_off_count += self.is_cut_off
                await self._removal
            # Two rpcs, or two gateways. Of what retention removes as one is about to store it, nobody knows.
            at_once = 1 if self._removes else random.choice((1, 1, 1, 2))
            self._plan_failures(random.randint(0, 2))
            if self._has_pauses and at_once == 1 and random.random() < 0.2:
                self._d1.failures.insert(random.randint(0, len(self._d1.failures)), random.choice(FINAL))
            self._note(f"the last backfill, {at_once} at once, after {self._d1.failures}")
            await asyncio.gather(*(self._backfill(is_alone=at_once == 1) for _ in range(at_once)))
            await asyncio.gather(*self._tasks)
            await self._last()
        self.seen.held = await _read(self._log)
        self.seen.check()

    async def _backfill(self, *, is_alone: bool) -> bool:
        d1, seen = self._d1, self.seen
        backfill = Backfill(
            d1,
            self._log,
            calls_per_second=5 if self._has_pauses else 10_000,
            retention_seconds=_RETENTION_SECONDS,
            now_ns=lambda: self._now_ms() * 1_000_000,
        )
        for card_id in _CARDS:
            after = await self._last()
            history, page_count, start_ms = list(d1.cards[card_id]), len(d1.pages), self._now_ms()
            result = await backfill.card(ISSUER, card_id, seen.since_ms)
            pages = [page for page_card_id, page in d1.pages[page_count:] if page_card_id == card_id]
            seen.runs.append(Run(card_id, result, history, pages, start_ms, after, await self._last(), is_alone))
            self._note(f"{card_id} is done: {result}")
        return True

    async def _last(self) -> int:
        """Return the last sequence of the log, once it is available."""
        while True:
            try:
                return (await self._log.bounds()).last
            except GatewayError:
                await asyncio.sleep(1)

    def _now_ms(self) -> int:
        return _NOW_MS + round(1000 * (self._loop.time() - self._started))

    def _note(self, what: str) -> None:
        self.history.append(f"{self._loop.time() - self._started:8.1f} s  {what}")

    def _plan_failures(self, passing_count: int) -> None:
        random = self._random
        if self._has_pauses:
            self._d1.failures = random.choices(WAITS, k=random.choice((0, 0, 1, 4)))
            self._d1.failures += random.choices(PASSING, k=passing_count)
            random.shuffle(self._d1.failures)

    def _make_history(self, gap_ms: int) -> None:
        random = self._random
        ahead_ms = random.choice((0, 0, 4 * _MINUTE_MS))
        odd_share = random.choice((0.0, 0.0, 0.1, 0.5))
        for card_id in _CARDS[: random.choice((1, 2, 2))]:
            count = random.choice(_SIZES)
            times = [self._now_ms() - gap_ms * number for number in range(count, 0, -1)]
            self._happened_ms[card_id] = times
            for number, time_ms in enumerate(times):
                start_ms = min(time_ms + ahead_ms, self._now_ms()) - random.randint(0, self.seen.disorder_ms)
                self._d1.cards[card_id].append(a_random_operation(random, number, start_ms, odd_share))

    async def _notify_before(self) -> None:
        """Let notifications arrive before the first backfill, some late, twice or of another state."""
        random = self._random
        share = random.choice((0.0, 0.5, 0.5, 0.95, 1.0))
        arrivals: list[tuple[int, str, ThreeDSOperation]] = []
        for card_id, times in self._happened_ms.items():
            for time_ms, operation in zip(times, self._d1.cards[card_id], strict=True):
                if random.random() < share and operation.operation_id:
                    received_ms = min(time_ms + random.choice((0, 0, 3 * _MINUTE_MS)), self._now_ms())
                    notified = ThreeDSOperation()
                    notified.CopyFrom(operation)
                    if random.random() < 0.05:
                        notified.status_text, notified.status = "PENDING", THREE_DS_OPERATION_STATUS_UNSPECIFIED
                    arrivals += [(received_ms, card_id, notified)] * random.choice((1, 1, 2))
        arrivals.sort(key=lambda arrival: arrival[0])
        for received_ms, card_id, operation in arrivals:
            await self._append(card_id, operation, received_ms)

    async def _append(self, card_id: str, operation: ThreeDSOperation, received_ms: int) -> None:
        notification = Notification(issuer_id=ISSUER, card_id=card_id, correlation_id="notified")
        notification.three_ds_operation.CopyFrom(operation)
        event = event_of(notification, received_ms * 1_000_000)
        self.seen.acknowledged.append((event, await self._log.append(event)))

    async def _meanwhile(self, card_id: str) -> None:
        """Let things happen while a page is read."""
        random = self._random
        if self._removes and random.random() < 0.3:
            await self._remove()
        if not self._is_busy:
            return
        operations = self._d1.cards[card_id]
        count = random.choice((0, 0, 1, 3))
        if self._burst and random.random() < 0.1:
            count, self._burst = self._burst, 0
        count = min(count, self._arrivals_left)
        self._arrivals_left -= count
        for _ in range(count):
            number = len(operations)
            operations.append(a_random_operation(random, number, self._now_ms() + number, 0.05))
            if random.random() < 0.6:
                self._notify_soon(card_id, operations[-1])
        if operations and random.random() < 0.5:
            self._notify_soon(card_id, random.choice(operations))
        if self._outage is not None and random.random() < 0.1:
            seconds = random.choice((0.1, 3.0, 100.0))
            self._note(f"the log is unavailable for {seconds} s")
            self._outage(seconds)
        for _ in range(random.randint(0, 3)):
            await asyncio.sleep(0)

    def _notify_soon(self, card_id: str, operation: ThreeDSOperation) -> None:
        turns = self._random.choice((0, 1, 3, 10, 40))
        if operation.operation_id:
            self._tasks.append(asyncio.create_task(self._notify(card_id, operation, turns)))

    async def _notify(self, card_id: str, operation: ThreeDSOperation, turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        identity = identity_of(card_id, operation)
        if any(removed.identity == identity for removed in self.seen.removed.values()):
            return  # What retention has removed is new again, whoever brings it.
        try:
            await self._append(card_id, operation, self._now_ms())
        except GatewayError:
            self._note(f"the notification of {operation.operation_id} is lost")

    async def _remove(self) -> None:
        """Let retention remove some of the oldest, but never all: there is no life without notifications."""
        await self._last()
        kept = await _read(self._log)
        count = self._random.randint(0, max(0, len(kept) - 1))
        self._note(f"retention removes {count} of {len(kept)}")
        if count:
            self.seen.removed.update(kept[:count])
            # What is cut off around it is a backfill, not retention.
            self._removal = asyncio.ensure_future(self._trim(kept[count - 1].sequence))
            await asyncio.shield(self._removal)


async def _read(log: EventLog) -> list[StoredEvent]:
    """Read all of a log."""
    after, found = (await log.bounds()).trimmed_through, list[StoredEvent]()
    while (read := await log.read(after, 1000)).events:
        found += read.events
        after = read.through
    return found


async def cut_off_at(step: int, work: Coroutine[Any, Any, _T]) -> _T | None:
    """Run a coroutine up to the given place where it waits, counted from 1; None if it has not ended before."""
    try:
        return await asyncio.create_task(_stepping(step, work))
    except asyncio.CancelledError:
        return None


@coroutine
def _stepping(step: int, work: Coroutine[Any, Any, _T]) -> Generator[Any, Any, _T]:
    resume: Callable[[], Any] = partial(work.send, None)
    while True:
        try:
            waits_for = resume()
        except StopIteration as end:
            result: _T = end.value
            return result
        step -= 1
        task = asyncio.current_task()
        if not step and task is not None:
            task.cancel()
        try:
            yield waits_for
        except BaseException as error:  # noqa: BLE001  for the coroutine
            resume = partial(work.throw, error)
        else:
            resume = partial(work.send, None)
