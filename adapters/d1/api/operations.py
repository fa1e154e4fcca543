"""D1's history of 3DS operations (D1 API: 3DS operations), behind the port `gateway.ports.OperationHistory`."""

from typing import Any

from adapters.d1.api import endpoints
from adapters.d1.api.client import D1Client
from adapters.d1.api.endpoints import FIELDS
from adapters.d1.api.errors import contract_broken
from adapters.d1.callbacks.fields import Fields
from adapters.d1.callbacks.misfits import Misfits
from adapters.d1.callbacks.operations import parse_operation
from adapters.http.response import UpstreamResponse
from gateway.errors import GatewayError
from gateway.ports import Call, HistoryPage
from gateway.ports.meter import Unmeasured, UpstreamMeter
from issuer.threeds.v1 import operation_pb2

__all__ = ["D1OperationHistory"]

_MAX_REMAINING = 2**32 - 1
_ITEM = "item"
"""Where an item is kept that is no object, among the unrecognized fields."""


class D1OperationHistory:
    """Operations at D1; `gateway.ports.OperationHistory` documents each method and its errors.

    They are read as in notifications: what does not fit is kept. An operation without a usable id stays in the list
    too, as a history with a gap would pass for a complete one.
    """

    def __init__(self, client: D1Client, meter: UpstreamMeter = Unmeasured()) -> None:  # noqa: B008  without state
        self._client = client
        self.misfits = Misfits(meter)
        """Counts and logs what D1 sends in another form."""

    async def list_operations(self, card_id: str, offset: int, limit: int, call: Call) -> HistoryPage:
        """List operations, newest first."""
        query = {endpoints.OFFSET: offset, endpoints.LIMIT: limit}
        response = await self._client.call(endpoints.LIST_OPERATIONS, call, query=query, card_id=card_id)
        page = response.json_object() or {}
        items, remaining = page.get(FIELDS["operations"]), _count(page.get(FIELDS["remaining_operation_count"]))
        if not isinstance(items, list):
            raise _malformed(response, "it lacks the operations")
        if len(items) > limit or (remaining and not items):
            raise _malformed(response, "it has more operations than requested, or none although some remain")
        operations = [self._read(item if isinstance(item, dict) else {_ITEM: item}) for item in items]
        # Only a page that is not full is known to be the last one.
        return HistoryPage(operations, int(len(items) == limit) if remaining is None else remaining)

    async def get_operation(self, card_id: str, operation_id: str, call: Call) -> operation_pb2.ThreeDSOperation:
        """Get an operation."""
        response = await self._client.call(endpoints.GET_OPERATION, call, card_id=card_id, operation_id=operation_id)
        operation = self._read(response.json_object() or {})
        if operation.operation_id != operation_id:
            raise _malformed(response, "it has another operation than the requested one")
        return operation

    def _read(self, value: dict[str, Any]) -> operation_pb2.ThreeDSOperation:
        fields, operation = Fields(value), operation_pb2.ThreeDSOperation()
        parse_operation(fields, operation)
        self.misfits.report("three_ds_operation", fields)
        return operation


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_REMAINING
    return value if is_count else None


def _malformed(response: UpstreamResponse, why: str) -> GatewayError:
    return contract_broken(f"D1's response is malformed: {why}.", status=response.status)
