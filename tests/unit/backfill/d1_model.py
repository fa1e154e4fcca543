"""A card platform in random lives of backfills: what it lists of each card, and what it responds instead."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final

from gateway.errors import ErrorOutcome, GatewayError, Reason
from gateway.ports import Call, HistoryPage
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import operation_pb2 as threeds
from issuer.threeds.v1.operation_pb2 import ThreeDSOperation

__all__ = ["FINAL", "PASSING", "WAITS", "D1Model", "a_random_operation", "effective_times"]

WAITS: Sequence[Reason] = (
    error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED,
    error_pb2.ERROR_REASON_UPSTREAM_CIRCUIT_OPEN,
    error_pb2.ERROR_REASON_UPSTREAM_UNREACHABLE,
    error_pb2.ERROR_REASON_UPSTREAM_UNAVAILABLE,
    error_pb2.ERROR_REASON_UPSTREAM_AUTHENTICATION,
    error_pb2.ERROR_REASON_TOO_MANY_REQUESTS,
)
"""What a backfill waits for to end."""
PASSING: Sequence[Reason] = (
    error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE,
    error_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
    error_pb2.ERROR_REASON_UPSTREAM_FAILED,
)
"""What may be gone the next time, and makes a card fail the third time."""
FINAL: Sequence[Reason] = (
    error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND,
    error_pb2.ERROR_REASON_UPSTREAM_CONTRACT,
    error_pb2.ERROR_REASON_UPSTREAM_FORBIDDEN,
    error_pb2.ERROR_REASON_UPSTREAM_INVALID,
)
"""What makes a card fail at once: an unknown card, a page that cannot be read, and the like."""

_RETRY_AFTER_SECONDS: Final = 7.0
_OUTCOMES: dict[Reason, ErrorOutcome] = {
    error_pb2.ERROR_REASON_UPSTREAM_NO_RESPONSE: error_pb2.ERROR_OUTCOME_UNKNOWN,
    error_pb2.ERROR_REASON_UPSTREAM_FAILED: error_pb2.ERROR_OUTCOME_UNKNOWN,
    error_pb2.ERROR_REASON_UPSTREAM_CONTRACT: error_pb2.ERROR_OUTCOME_UNKNOWN,
}


def _failure(reason: Reason) -> GatewayError:
    """Return the error of a call to the platform."""
    return GatewayError(
        reason,
        "D1 fails.",
        outcome=_OUTCOMES.get(reason, error_pb2.ERROR_OUTCOME_REJECTED),
        retry_after_seconds=_RETRY_AFTER_SECONDS if reason == error_pb2.ERROR_REASON_UPSTREAM_RATE_LIMITED else None,
    )


async def _nothing(_: str) -> None:
    """Let nothing happen during a read."""


class D1Model:
    """A `gateway.ports.OperationHistory` of several cards, whose operations may lack an id or a readable time."""

    def __init__(self, *, page_size: int, ignores_offset: bool) -> None:
        """List pages of a size at most, and always the first one if offsets are ignored."""
        self.cards: defaultdict[str, list[ThreeDSOperation]] = defaultdict(list)
        """In the order in which they happened."""
        self.failures: list[Reason] = []
        """What the next calls fail with."""
        self.pages: list[tuple[str, Sequence[ThreeDSOperation]]] = []
        """Each page that was read, with its card."""
        self.page_size = page_size
        self.ignores_offset = ignores_offset
        self.during: Callable[[str], Awaitable[None]] = _nothing
        """What happens while a card is read, before and after the platform looks at it."""

    async def list_operations(self, card_id: str, offset: int, limit: int, call: Call) -> HistoryPage:
        assert 1 <= limit <= 50
        assert call.is_background
        await self.during(card_id)
        if self.failures:
            raise _failure(self.failures.pop(0))
        newest_first = self.cards[card_id][::-1]
        start = 0 if self.ignores_offset else offset
        page = newest_first[start : start + min(limit, self.page_size)]
        self.pages.append((card_id, page))
        remaining = max(0, len(newest_first) - start - len(page))
        await self.during(card_id)
        return HistoryPage(page, remaining)

    async def get_operation(self, card_id: str, operation_id: str, call: Call) -> ThreeDSOperation:
        raise NotImplementedError  # A backfill lists.


def a_random_operation(random: Random, number: int, start_ms: int, odd_share: float) -> ThreeDSOperation:
    """Return the operation ``op-<number>``; an odd one lacks an id, a readable time, or a known or any status."""
    operation = ThreeDSOperation(
        operation_id=f"op-{number}",
        type=threeds.THREE_DS_OPERATION_TYPE_FRICTIONLESS,
        type_text="3DS_FRICTIONLESS",
        status=threeds.THREE_DS_OPERATION_STATUS_SUCCESSFUL,
        status_text="SUCCESSFUL",
        start_time_text=str(start_ms),
        error=f"operation {number}",
    )
    operation.start_time.FromMilliseconds(start_ms)
    if random.random() < odd_share:
        match random.randrange(4):
            case 0:
                operation.operation_id = ""
            case 1:
                operation.ClearField("start_time")
            case case:
                operation.status = threeds.THREE_DS_OPERATION_STATUS_UNSPECIFIED
                operation.status_text = "ABANDONED" if case == 2 else ""
    return operation


def effective_times(operations: Sequence[ThreeDSOperation], now_ms: int) -> Sequence[int]:
    """Return the time of each operation in milliseconds; of one without, that of its newer neighbour, or now."""
    times: list[int] = []
    time_ms = now_ms
    for operation in reversed(operations):
        if operation.HasField("start_time"):
            time_ms = operation.start_time.ToMilliseconds()
        times.append(time_ms)
    return times[::-1]
