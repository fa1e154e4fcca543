"""A card platform's history in memory."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from gateway.errors import GatewayError, Reason
from gateway.ports import Call, HistoryPage
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import operation_pb2 as threeds

__all__ = ["FakeOperationHistory", "an_operation"]


def an_operation(
    number: int,
    *,
    operation_id: str | None = None,
    status: "threeds.ThreeDSOperationStatus.ValueType" = threeds.THREE_DS_OPERATION_STATUS_SUCCESSFUL,
    second: int | None = None,
) -> threeds.ThreeDSOperation:
    """Return the operation ``op-<number>``, processed in the second of its number unless given; 0 for no time."""
    operation = threeds.ThreeDSOperation(
        operation_id=f"op-{number}" if operation_id is None else operation_id,
        type=threeds.THREE_DS_OPERATION_TYPE_FRICTIONLESS,
        type_text="3DS_FRICTIONLESS",
        status=status,
        status_text=threeds.ThreeDSOperationStatus.Name(status).removeprefix("THREE_DS_OPERATION_STATUS_"),
        consumer_id="consumer-1",
    )
    if second is None or second:
        operation.start_time.FromSeconds(number if second is None else second)
    return operation


class FakeOperationHistory:
    """A `gateway.ports.OperationHistory` that lists operations in the order of their addition, last one first."""

    def __init__(self) -> None:
        self.cards: defaultdict[str, list[threeds.ThreeDSOperation]] = defaultdict(list)
        self.calls: list[tuple[str, int]] = []
        """Card and offset of each call."""
        self.backgrounds: set[bool] = set()
        self.failures: list[GatewayError] = []
        """What the next calls fail with."""
        self.arriving: list[threeds.ThreeDSOperation] = []
        """Added before each call, one by one."""
        self.arriving_at_once: list[threeds.ThreeDSOperation] = []
        """Added after the first call."""
        self.seconds = 0.0
        """How long each call takes."""
        self.ignores_offset = False
        self.unreadable_offset: int | None = None
        """Where a page begins that cannot be read."""

    def fail(self, reason: Reason, times: int = 1, *, retry_after_seconds: float | None = None) -> None:
        """Fail the next calls."""
        self.failures += [GatewayError(reason, "Failed.", retry_after_seconds=retry_after_seconds)] * times

    async def list_operations(self, card_id: str, offset: int, limit: int, call: Call) -> HistoryPage:
        self.calls.append((card_id, offset))
        self.backgrounds.add(call.is_background)
        await asyncio.sleep(self.seconds)
        if self.failures:
            raise self.failures.pop(0)
        if offset == self.unreadable_offset:
            raise GatewayError(error_pb2.ERROR_REASON_UPSTREAM_CONTRACT, "Unreadable.")
        if self.arriving:
            self.cards[card_id].append(self.arriving.pop(0))
        newest_first = self.cards[card_id][::-1]
        start = 0 if self.ignores_offset else offset
        page: Sequence[threeds.ThreeDSOperation] = newest_first[start : start + limit]
        self.cards[card_id] += self.arriving_at_once
        self.arriving_at_once = []
        return HistoryPage(page, 1 if self.ignores_offset else max(0, len(newest_first) - offset - len(page)))

    async def get_operation(self, card_id: str, operation_id: str, call: Call) -> threeds.ThreeDSOperation:
        raise NotImplementedError
