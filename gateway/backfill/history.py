"""Reads a card's operations from the card platform's history, page by page, as gently as its budget says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from gateway.backfill.budget import Budget, Pause
from gateway.errors import GatewayError, Reason
from gateway.ports import Call, HistoryPage, OperationHistory
from issuer.common.v1 import error_pb2
from issuer.threeds.v1.operation_pb2 import ThreeDSOperation

__all__ = ["CardHistory", "OnPause", "Retries", "read_history"]

OnPause = Callable[[Pause], None]
"""Called as a pause begins."""

_FIRST_PAGE_SIZE: Final = 10
"""Few cards have more operations in the time asked for, and what a page costs grows with its length."""
_PAGE_SIZE: Final = 50
"""The most that a page may have: see `gateway.ports.OperationHistory`."""
_MAX_PAGES: Final = 1000
"""No card has so many; a platform whose pages never end does."""
_MAX_BYTES: Final = 8 * 1_048_576
"""No card has so much either. All of it is in memory before the oldest can be appended."""
_MAX_REPEATED_PAGES: Final = 20
"""As many as a thousand new operations cause; a platform that ignores offsets repeats all."""
_PAUSES_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""After the first failure, the second, and so on; then the last one."""
_MAX_ATTEMPTS: Final = 3
"""Attempts at a page where the fault may be the card's."""

_LASTING: Final = frozenset(
    {
        error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED,
        error_pb2.ERROR_REASON_UPSTREAM_CIRCUIT_OPEN,
        error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE,
        error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE,
        error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION,
        error_pb2.ERROR_REASON_TOO_MANY_REQUESTS,
        error_pb2.ERROR_REASON_EVENT_LOG_UNAVAILABLE,
    }
)
"""Reasons that concern all cards: none is read until they are gone."""
_PASSING: Final = frozenset(
    {
        error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE,
        error_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
        error_pb2.ERROR_REASON_UPSTREAM_FAILED,
    }
)
"""Reasons that may be the card's own, or gone the next time."""


@dataclass(slots=True)
class CardHistory:
    """What the platform lists of a card since a time."""

    operations: list[tuple[int, ThreeDSOperation]] = field(default_factory=list)
    """Those with an id, oldest first, each state of each once; with their times, in milliseconds since 1970 (UTC)."""
    unusable_count: int = 0
    """The number of those without one."""
    error: GatewayError | None = None
    """Why older ones may be missing; None if the history was read to its end."""


class Retries:
    """Decides after each failure whether to try again, and pauses the issuer's backfills before."""

    def __init__(self, budget: Budget, on_pause: OnPause) -> None:
        """Start with no failure."""
        self.budget = budget
        """The budget of the issuer."""
        self._on_pause = on_pause
        self._failures = self._passing_failures = 0

    def begin_retry(self, error: GatewayError) -> bool:
        """Begin the pause before another attempt, and return True; False if the error is to be reported."""
        # What was not sent says nothing about the card: other calls took all connections, or there was no token.
        is_unsent = error.outcome == error_pb2.ERROR_OUTCOME_NOT_SENT
        if error.reason in _PASSING and not is_unsent:
            # Not with the others, or none would be left after an outage.
            self._passing_failures += 1
            may_retry = self._passing_failures < _MAX_ATTEMPTS
        else:
            may_retry = error.reason in _LASTING or error.reason in _PASSING
        if may_retry:
            self._pause(error.reason, error.retry_after_seconds)
        return may_retry

    def succeeded(self) -> None:
        """Forget the failures."""
        self._failures = self._passing_failures = 0

    def _pause(self, reason: Reason, requested_seconds: float | None) -> None:
        growing = _PAUSES_SECONDS[min(self._failures, len(_PAUSES_SECONDS) - 1)]
        self._failures += 1
        pause = Pause(reason, max(requested_seconds or 0.0, growing))
        self.budget.pause(pause)
        self._on_pause(pause)


async def read_history(
    history: OperationHistory, card_id: str, since_ms: int, now_ms: int, call: Call, retries: Retries
) -> CardHistory:
    """Read what the platform lists of a card since a time.

    New operations that arrive meanwhile push others to later pages, where they come twice, not out of sight. The
    platform lists the newest first, so a page that ends before the time is the last one. An operation without a
    readable time counts as of the time of its newer neighbour, or as of now.
    """
    found = CardHistory()
    try:
        await _read_into(found, history, card_id, since_ms, now_ms, call, retries)
    except GatewayError as error:
        found.error = error
    # By time, because a later page begins with newer ones if more than a page of them has arrived meanwhile. Where
    # times are equal, the platform's order stays.
    found.operations.reverse()
    found.operations.sort(key=itemgetter(0))
    return found


async def _read_into(
    found: CardHistory,
    history: OperationHistory,
    card_id: str,
    since_ms: int,
    time_ms: int,
    call: Call,
    retries: Retries,
) -> None:
    seen = set[tuple[str, str, str] | bytes]()
    offset = size = repeated_pages = 0
    for _ in range(_MAX_PAGES):
        page = await _page(history, card_id, offset, call, retries)
        if page.operations and not any(each.HasField("start_time") for each in page.operations):
            # A year of operations would count as recent, and come again once retention has removed it.
            raise _timeless()
        seen_before = len(seen)
        for operation in page.operations:
            if operation.HasField("start_time"):
                time_ms = operation.start_time.ToMilliseconds()
            state = _state(operation)
            if time_ms < since_ms or state in seen:
                continue
            seen.add(state)
            size += operation.ByteSize()
            if operation.operation_id:
                found.operations.append((time_ms, operation))
            else:
                found.unusable_count += 1
        if time_ms < since_ms or page.remaining == 0:
            return
        repeated_pages = repeated_pages + 1 if len(seen) == seen_before else 0
        if repeated_pages > _MAX_REPEATED_PAGES or size > _MAX_BYTES:
            break
        offset += len(page.operations)
    raise _endless()


async def _page(history: OperationHistory, card_id: str, offset: int, call: Call, retries: Retries) -> HistoryPage:
    while True:
        try:
            async with retries.budget.call():
                page = await history.list_operations(card_id, offset, _PAGE_SIZE if offset else _FIRST_PAGE_SIZE, call)
        except GatewayError as error:
            if not retries.begin_retry(error):
                raise
        else:
            retries.succeeded()
            return page


def _state(operation: ThreeDSOperation) -> tuple[str, str, str] | bytes:
    """Return what tells an operation, in its state, from others."""
    if not operation.operation_id:
        return operation.SerializeToString(deterministic=True)
    return operation.operation_id, operation.type_text, operation.status_text


def _timeless() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
        "The history of the card has no readable times: old operations cannot be told from new ones.",
        outcome=error_pb2.ERROR_OUTCOME_REJECTED,
    )


def _endless() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
        "The history of the card cannot be read to its end: its pages repeat the same operations, or are too many.",
        outcome=error_pb2.ERROR_OUTCOME_REJECTED,
    )
