"""Reads a card's operations from the card platform's history, page by page, as gently as its budget says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.backfill.budget import Budget, Pause
from gateway.errors import GatewayError, Reason
from gateway.ports import Call, HistoryPage, OperationHistory
from issuer.common.v1 import error_pb2
from issuer.threeds.v1.operation_pb2 import ThreeDSOperation

__all__ = ["CardHistory", "OnPause", "Retries", "read_history"]

OnPause = Callable[[Pause], None]
"""Called as a pause begins."""

_PAGE_SIZE: Final = 50
"""The most that a page may have: see `gateway.ports.OperationHistory`."""
_MAX_PAGES: Final = 1000
"""No card has so many; a platform whose pages never end does."""
_FIRST_PAUSE_SECONDS: Final = 1.0
_MAX_PAUSE_SECONDS: Final = 60.0
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

    operations: list[ThreeDSOperation] = field(default_factory=list)
    """Those with an id, newest first, each state of each once."""
    unusable_count: int = 0
    """The number of those without one."""
    error: GatewayError | None = None
    """Why older ones may be missing; None if the history was read to its end."""


class Retries:
    """Decides after each failure whether to try again, and pauses the issuer's backfills before."""

    def __init__(self, budget: Budget, on_pause: OnPause) -> None:
        """Start with no failure."""
        self._budget = budget
        self._on_pause = on_pause
        self._failures = 0

    def may_retry(self, error: GatewayError) -> bool:
        """Return whether to try again, after the pause that has begun; False if the error is to be reported."""
        self._failures += 1
        if error.reason not in _LASTING and (error.reason not in _PASSING or self._failures >= _MAX_ATTEMPTS):
            return False
        self._pause(error.reason, error.retry_after_seconds)
        return True

    def succeeded(self) -> None:
        """Forget the failures."""
        self._failures = 0

    def _pause(self, reason: Reason, requested_seconds: float | None) -> None:
        growing = min(_FIRST_PAUSE_SECONDS * 2.0 ** (self._failures - 1), _MAX_PAUSE_SECONDS)
        pause = Pause(reason, max(requested_seconds or 0.0, growing))
        self._budget.pause(pause)
        self._on_pause(pause)


async def read_history(
    history: OperationHistory, card_id: str, since_ms: int, call: Call, budget: Budget, retries: Retries
) -> CardHistory:
    """Read what the platform lists of a card since a time.

    New operations that arrive meanwhile push others to later pages, where they come twice, not out of sight. The
    platform lists the newest first, so a page that ends before the time is the last one. An operation without a
    readable time counts as of the time of its newer neighbour.
    """
    found, seen = CardHistory(), set[tuple[str, str, str]]()
    offset = 0
    for _ in range(_MAX_PAGES):
        try:
            page = await _page(history, card_id, offset, call, budget, retries)
        except GatewayError as error:
            found.error = error
            return found
        within, is_last = _within(page.operations, since_ms)
        new = [operation for operation in within if not operation.operation_id or _state(operation) not in seen]
        seen.update(map(_state, new))
        found.operations += (operation for operation in new if operation.operation_id)
        found.unusable_count += sum(not operation.operation_id for operation in new)
        if is_last or page.remaining == 0:
            return found
        if not new:
            break
        offset += len(page.operations)
    found.error = _endless()
    return found


async def _page(
    history: OperationHistory, card_id: str, offset: int, call: Call, budget: Budget, retries: Retries
) -> HistoryPage:
    while True:
        await budget.take()
        try:
            page = await history.list_operations(card_id, offset, _PAGE_SIZE, call)
        except GatewayError as error:
            if not retries.may_retry(error):
                raise
        else:
            retries.succeeded()
            return page


def _within(operations: Sequence[ThreeDSOperation], since_ms: int) -> tuple[Sequence[ThreeDSOperation], bool]:
    """Return those since a time, and whether the last one is from before it."""
    found, is_before = [], False
    for operation in operations:
        if operation.HasField("start_time"):
            is_before = operation.start_time.ToMilliseconds() < since_ms
        if not is_before:
            found.append(operation)
    return found, is_before


def _state(operation: ThreeDSOperation) -> tuple[str, str, str]:
    return operation.operation_id, operation.type_text, operation.status_text


def _endless() -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
        "The history of the card does not end: its pages repeat the same operations, or there are too many.",
        outcome=error_pb2.ERROR_OUTCOME_REJECTED,
    )
