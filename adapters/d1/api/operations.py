"""D1's history of 3DS operations (D1 API: 3DS operations), behind the port `gateway.ports.OperationHistory`."""

from typing import Any

from adapters.d1.api import endpoints
from adapters.d1.api.client import D1Client
from adapters.d1.api.endpoints import FIELDS
from adapters.d1.api.errors import contract_broken
from adapters.d1.callbacks.fields import FieldError, Fields
from adapters.d1.callbacks.operations import parse_operation
from adapters.http.response import UpstreamResponse
from gateway.errors import GatewayError
from gateway.ports import Call, HistoryPage
from issuer.threeds.v1 import operation_pb2

__all__ = ["D1OperationHistory"]

_MAX_REMAINING = 2**32 - 1


class D1OperationHistory:
    """Operations at D1; `gateway.ports.OperationHistory` documents each method and its errors.

    Unknown kinds, states and fields are accepted. An operation that is malformed in its id, kind, state or time fails
    the whole response with UPSTREAM_CONTRACT, which names the place: a history with a gap would pass for a complete
    one.
    """

    def __init__(self, client: D1Client) -> None:
        self._client = client

    async def list_operations(self, card_id: str, offset: int, limit: int, call: Call) -> HistoryPage:
        """List operations, newest first."""
        query = {endpoints.OFFSET: offset, endpoints.LIMIT: limit}
        response = await self._client.call(endpoints.LIST_OPERATIONS, call, query=query, card_id=card_id)
        page = response.json_object() or {}
        name = FIELDS["operations"]
        items = page.get(name)
        remaining = _count(page.get(FIELDS["remaining_operation_count"]))
        if not isinstance(items, list) or remaining is None:
            raise _malformed(response, "it lacks the operations or the number of remaining ones")
        if len(items) > limit or (remaining and not items):
            raise _malformed(response, "it has more operations than requested, or none although some remain")
        operations = [_operation(item, response, f"{name}[{place}]") for place, item in enumerate(items)]
        return HistoryPage(operations, remaining)

    async def get_operation(self, card_id: str, operation_id: str, call: Call) -> operation_pb2.ThreeDSOperation:
        """Get an operation."""
        response = await self._client.call(endpoints.GET_OPERATION, call, card_id=card_id, operation_id=operation_id)
        operation = _operation(response.json_object(), response)
        if operation.operation_id != operation_id:
            raise _malformed(response, "it has another operation than the requested one")
        return operation


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_REMAINING
    return value if is_count else None


def _operation(value: Any, response: UpstreamResponse, place: str = "") -> operation_pb2.ThreeDSOperation:
    if not isinstance(value, dict):
        raise _malformed(response, f"{place or 'it'} is not an object")
    operation = operation_pb2.ThreeDSOperation()
    try:
        parse_operation(Fields(value, f"{place}." if place else ""), operation)
    except FieldError as error:
        raise _malformed(response, str(error)) from None
    return operation


def _malformed(response: UpstreamResponse, why: str) -> GatewayError:
    return contract_broken(f"D1's response is malformed: {why}.", status=response.status)
