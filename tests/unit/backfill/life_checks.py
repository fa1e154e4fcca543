"""What has to be true of a random life, whatever happened in it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.backfill.backfill import CardResult
from gateway.notifications.events import event_of
from gateway.ports import Event, EventIdentity, StoredEvent
from issuer.common.v1 import error_pb2
from issuer.notification.v1.messages_pb2 import Notification
from issuer.threeds.v1.operation_pb2 import ThreeDSOperation
from tests.unit.backfill.d1_model import FINAL, D1Model, effective_times

__all__ = ["ISSUER", "BrokenPromiseError", "Run", "Seen", "identity_of"]

ISSUER: Final = "ISSUER0001"
_CLOCKS_MS: Final = 5 * 60_000
"""How much younger than the oldest notification that is left an operation must be to be fetched."""


class BrokenPromiseError(AssertionError):
    """A promise was not kept."""


def identity_of(card_id: str, operation: ThreeDSOperation) -> EventIdentity:
    """Return what the event of an operation has in common with its duplicates."""
    return event_of(Notification(issuer_id=ISSUER, card_id=card_id, three_ds_operation=operation), 0).identity


@dataclass(slots=True, eq=False)
class Run:
    """A backfill of a card that came to its end."""

    card_id: str
    result: CardResult
    history: Sequence[ThreeDSOperation]
    """What the platform had of the card before it, oldest first."""
    pages: Sequence[Sequence[ThreeDSOperation]]
    """What it was given, and others meanwhile."""
    start_ms: int
    """The time of its start."""
    after: int
    """The end of the log before it."""
    through: int
    """The end of the log after it."""
    is_alone: bool
    """Whether no other ran at the same time."""


@dataclass(slots=True)
class Seen:
    """What was seen of a life."""

    d1: D1Model
    since_ms: int = 0
    """The time from which each run fetches."""
    disorder_ms: int = 0
    """How much earlier than its neighbours an operation may have begun."""
    is_still: bool = True
    """Whether nothing happened during the runs."""
    held: Sequence[StoredEvent] = ()
    """The event log at the end."""
    removed: dict[int, Event] = field(default_factory=dict)
    """What retention has removed from it, by sequence."""
    acknowledged: list[tuple[Event, bool]] = field(default_factory=list)
    """Each notification that the platform believes delivered, and whether it was new."""
    runs: list[Run] = field(default_factory=list)
    cut_off_count: int = 0
    """The number of backfills that did not come to their end."""

    @property
    def stored(self) -> Sequence[StoredEvent]:
        """All that was ever in the log."""
        return [*(StoredEvent(*each) for each in sorted(self.removed.items())), *self.held]

    def check(self) -> None:
        """Check all promises.

        Raises:
            BrokenPromiseError: One was not kept.
        """
        by_identity = {stored.event.identity: stored for stored in self.stored}
        _expect(len(by_identity) == len(self.stored), "nothing is in the log twice", _twice(self.stored))
        for event, is_new in self.acknowledged:
            stored = by_identity.get(event.identity)
            _expect(stored is not None, "what is acknowledged is in the log", event)
            if is_new:
                _expect(stored is not None and stored.event == event, "what is notified first stays so", stored)
        for stored in self.stored:
            self._check_recovered(stored.event)
        for run in self.runs:
            self._check_run(run, by_identity)

    def _check_recovered(self, event: Event) -> None:
        notification = Notification.FromString(event.payload)
        if not notification.recovered:
            return
        operation = notification.three_ds_operation
        _expect(operation in self.d1.cards[event.subject_id], "only what the platform has is recovered", operation)
        is_within = not operation.HasField("start_time") or operation.start_time.ToMilliseconds() >= self.since_ms
        _expect(is_within, "nothing from before the time is recovered", operation)
        _expect(event_of(notification, notification.receive_time.ToNanoseconds()) == event, "its event fits", event)
        is_marked = notification.correlation_id not in ("", "notified") and notification.card_id == event.subject_id
        _expect(is_marked, "it has the correlation id of its fetch", notification)

    def _check_run(self, run: Run, by_identity: dict[EventIdentity, StoredEvent]) -> None:
        error = run.result.error
        horizon_ms = self.held[0].event.receive_time_ms + _CLOCKS_MS if self.removed and self.held else 0
        oldest_ms = 2**63 if self.removed and not self.held else max(self.since_ms, horizon_ms)

        def expect_all(operations: Sequence[ThreeDSOperation], times: Sequence[int], oldest_ms: int) -> None:
            for operation, time_ms in zip(operations, times, strict=True):
                if operation.operation_id and time_ms >= oldest_ms:
                    identity = identity_of(run.card_id, operation)
                    _expect(identity in by_identity, "all of the history since the time is in the log", operation)

        for page in run.pages:
            readable = [operation for operation in page if operation.HasField("start_time")]
            expect_all(readable, [each.start_time.ToMilliseconds() for each in readable], oldest_ms)
        if error is None:
            expect_all(run.history, effective_times(run.history, run.start_ms), oldest_ms + self.disorder_ms)
        elif not (self.d1.ignores_offset and error.reason == error_pb2.ERROR_REASON_UPSTREAM_CONTRACT):
            _expect(error.reason in FINAL, "what passes is waited for", repr(error))
        # The first page is a short one.
        most = 23 if self.d1.ignores_offset else 2 + len(self.d1.cards[run.card_id]) // self.d1.page_size
        if run.is_alone and (self.is_still or not self.d1.ignores_offset):
            _expect(len(run.pages) <= most, "no page is read for nothing", len(run.pages))
        self._check_order(run)
        if run.is_alone:
            self._check_counts(run)

    def _check_order(self, run: Run) -> None:
        if not run.is_alone and not self.is_still:
            return  # Each has what the other lacks.
        places = {operation.operation_id: place for place, operation in enumerate(self.d1.cards[run.card_id])}
        recovered = [Notification.FromString(event.payload).three_ds_operation for event in self._recovered(run)]
        happened = [
            (operation.start_time.ToMilliseconds(), places[operation.operation_id])
            for operation in recovered
            if operation.HasField("start_time")
        ]
        _expect(happened == sorted(happened), "what a run recovers is in the order in which it happened", happened)
        if self.is_still and not self.disorder_ms:
            listed = [places[operation.operation_id] for operation in recovered]
            _expect(listed == sorted(listed), "what has no time stays beside its neighbours", listed)

    def _check_counts(self, run: Run) -> None:
        recovered, result = self._recovered(run), run.result
        listed = {operation.SerializeToString(deterministic=True) for page in run.pages for operation in page}
        _expect(result.operation_count <= len(listed), "it counts each operation once", result)
        if not self.is_still:
            return
        # What one that was cut off had under way may still be stored.
        late_count = len(recovered) - result.recovered_count
        _expect(0 <= late_count <= self.cut_off_count, "it counts what it recovers", run)
        if late_count or result.error is not None or self.disorder_ms:
            return
        within = [
            operation
            for operation, time_ms in zip(run.history, effective_times(run.history, run.start_ms), strict=True)
            if time_ms >= self.since_ms
        ]
        unusable = sum(not operation.operation_id for operation in within)
        states = Counter((event.subject_id, event.operation_id) for _, event in self.stored)
        differing = sum(states[event.subject_id, event.operation_id] > 1 for event in recovered)
        counts = (len(within), len(recovered), differing, unusable)
        _expect(result[:4] == counts, f"it counts {counts}", result)

    def _recovered(self, run: Run) -> Sequence[Event]:
        """Return the recovered events of a run's card that were stored during it, in their order."""
        return [
            event
            for sequence, event in self.stored
            if run.after < sequence <= run.through
            and event.subject_id == run.card_id
            and Notification.FromString(event.payload).recovered
        ]


def _expect(is_kept: bool, promise: str, detail: object) -> None:  # noqa: FBT001
    if not is_kept:
        raise BrokenPromiseError(f"{promise}: {detail}")


def _twice(stored: Sequence[StoredEvent]) -> Sequence[EventIdentity]:
    counts = Counter(event.identity for _, event in stored)
    return [identity for identity, count in counts.items() if count > 1]
