"""Fetches what the event log lacks of a card's operations.

The event log itself tells what it lacks: it does not store again what it holds. So a notification that
arrives at the same moment does no harm, and neither does another backfill after a crash.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from gateway.backfill.budget import Budget, Pause
from gateway.backfill.history import OnPause, Retries, read_history
from gateway.errors import GatewayError, shown
from gateway.logging import correlation
from gateway.notifications.events import event_of
from gateway.ports import Call, Event, EventDamagedError, EventIdentity, EventKind, EventLog, OperationHistory, Scope
from issuer.common.v1 import error_pb2
from issuer.notification.v1.messages_pb2 import Notification
from issuer.threeds.v1.operation_pb2 import ThreeDSOperation

__all__ = ["Backfill", "CardResult"]

_T = TypeVar("_T")

_HORIZON_SIZE: Final = 100
"""Events that are appended before the log is asked again what retention has removed."""
_READ_SIZE: Final = 1000
_MAX_EVENT_BYTES: Final = 512 * 1024
_CLOCKS_MS: Final = 5 * 60_000
"""How far the platform's clock may be ahead of the gateway's."""


class CardResult(NamedTuple):
    """What became of a card. See ``issuer.notification.v1.CardBackfill``."""

    operation_count: int
    recovered_count: int
    differing_count: int
    unusable_count: int
    error: GatewayError | None = None
    """Why older operations may be missing; None if all were fetched."""


def _ignore(_: Pause) -> None:
    """Do nothing about a pause."""


def _uncounted(_: CardResult) -> None:
    """Do nothing about a card."""


class Backfill:
    """The backfills of a gateway; those of an issuer share its budget."""

    def __init__(
        self,
        history: OperationHistory,
        log: EventLog,
        *,
        calls_per_second: float,
        retention_seconds: float,
        max_event_bytes: int = _MAX_EVENT_BYTES,
        on_card: Callable[[CardResult], None] = _uncounted,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Fetch from a platform's history into an event log.

        Args:
            history: The platform's history.
            log: The event log.
            calls_per_second: The calls for each issuer.
            retention_seconds: How long the event log keeps notifications.
            max_event_bytes: Size of a notification that the event log takes, and watchers too.
            on_card: Called with the result of each card.
            now_ns: The wall clock, in nanoseconds since 1970 (UTC).
        """
        self._history = history
        self._log = log
        self._calls_per_second = calls_per_second
        self._retention_ms = round(retention_seconds * 1000)
        self._max_event_bytes = max_event_bytes
        self._on_card = on_card
        self._now_ns = now_ns
        self._budgets: dict[str, Budget] = {}

    def budget(self, issuer_id: str) -> Budget:
        """Return the budget of an issuer."""
        return self._budgets.setdefault(issuer_id, Budget(self._calls_per_second))

    async def card(self, issuer_id: str, card_id: str, since_ms: int, on_pause: OnPause = _ignore) -> CardResult:
        """Append what the event log lacks of a card's operations, in the order in which they happened.

        While the platform or the event log is unavailable, it waits. What concerns this card only is in the result.

        Args:
            issuer_id: The card's issuer.
            card_id: The card.
            since_ms: The first operation's time, in milliseconds since 1970 (UTC).
            on_pause: Called as a pause begins.
        """
        call = Call(issuer_id, correlation.current() or correlation.new(), is_background=True)
        work = _CardWork(self._log, self.budget(issuer_id), on_pause, self._now_ns, self._max_event_bytes)
        result = await work.run(self._history, card_id, since_ms, call, self._retention_ms)
        self._on_card(result)
        return result


class _CardWork:
    """The work on one card."""

    def __init__(
        self, log: EventLog, budget: Budget, on_pause: OnPause, now_ns: Callable[[], int], max_event_bytes: int
    ) -> None:
        self._log = log
        self._max_event_bytes = max_event_bytes
        self._budget = budget
        self._retries = Retries(budget, on_pause)
        self._now_ns = now_ns

    async def run(
        self, history: OperationHistory, card_id: str, since_ms: int, call: Call, retention_ms: int
    ) -> CardResult:
        try:
            horizon_ms = await self._patiently(lambda: self._horizon_ms(retention_ms))
        except GatewayError as error:
            return CardResult(0, 0, 0, 0, error)
        now_ms = self._now_ns() // 1_000_000
        found = await read_history(history, card_id, max(since_ms, horizon_ms), now_ms, call, self._retries)
        recovered: list[Event] = []
        differing_count, failure = 0, found.error
        try:
            too_large = await self._append(call, card_id, found.operations, retention_ms, recovered)
            failure = failure or too_large
            if recovered:
                differing_count = await self._patiently(lambda: self._count_differing(recovered))
        except GatewayError as error:
            failure = error
        count = len(found.operations) + found.unusable_count
        return CardResult(count, len(recovered), differing_count, found.unusable_count, failure)

    async def _append(
        self,
        call: Call,
        card_id: str,
        operations: Sequence[tuple[int, ThreeDSOperation]],
        retention_ms: int,
        recovered: list[Event],
    ) -> GatewayError | None:
        """Append operations, given with their times; add those that are new to a list.

        Returns:
            The error about those that are too large, if there are any.
        """
        too_large = None
        horizon_ms = 0
        for number, (time_ms, operation) in enumerate(operations):
            if number % _HORIZON_SIZE == 0:
                # Retention may have removed more since the first page was read.
                horizon_ms = await self._patiently(lambda: self._horizon_ms(retention_ms))
            if time_ms < horizon_ms:
                continue
            event = self._event(call, card_id, operation)
            if len(event.payload) > self._max_event_bytes:
                # The log may never take it, or no watcher would get past it.
                too_large = _too_large(operation)
                continue
            # One by one: NATS appends several in order only while no others arrive, and tries again until then.
            if await self._patiently(partial(self._log.append, event)):
                recovered.append(event)
        return too_large

    def _event(self, call: Call, card_id: str, operation: ThreeDSOperation) -> Event:
        notification = Notification(
            issuer_id=call.issuer_id,
            card_id=card_id,
            correlation_id=call.correlation_id,
            consumer_id=operation.consumer_id,
            recovered=True,
            three_ds_operation=operation,
        )
        return event_of(notification, self._now_ns())

    async def _horizon_ms(self, retention_ms: int) -> int:
        """Return the time from which the event log has had nothing that it no longer has.

        What retention has removed was received before everything that is left, and happened before it was received.
        """
        after = (await self._log.bounds()).trimmed_through
        while after:
            try:
                read = await self._log.read(after, 1)
            except EventDamagedError as error:
                after = error.sequence
                continue
            if read.events:
                return read.events[0].event.receive_time_ms + _CLOCKS_MS
            return self._now_ns() // 1_000_000 - retention_ms
        return 0

    async def _count_differing(self, recovered: Sequence[Event]) -> int:
        """Return how many of them the event log has in another state, too."""
        states: dict[str, set[EventIdentity]] = {event.operation_id: set() for event in recovered}
        scope = Scope(recovered[0].issuer_id, EventKind.THREE_DS_OPERATION, recovered[0].subject_id)
        after = (await self._log.bounds()).trimmed_through
        while True:
            try:
                read = await self._log.read(after, _READ_SIZE, scope)
            except EventDamagedError as error:
                after = error.sequence
                continue
            for _, event in read.events:
                if (event.issuer_id, event.kind, event.subject_id) == (scope.issuer_id, scope.kind, scope.subject_id):
                    states.get(event.operation_id, set()).add(event.identity)
            if not read.events:
                return sum(len(states[event.operation_id] - {event.identity}) > 0 for event in recovered)
            after = read.through

    async def _patiently(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        while True:
            try:
                result = await attempt()
            except GatewayError as error:
                if not self._retries.begin_retry(error):
                    raise
                await self._budget.wait_turn()
            else:
                self._retries.succeeded()
                return result


def _too_large(operation: ThreeDSOperation) -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
        f"The operation {shown(operation.operation_id)} is larger than any notification may be, and was left out.",
        outcome=error_pb2.ERROR_OUTCOME_REJECTED,
    )
