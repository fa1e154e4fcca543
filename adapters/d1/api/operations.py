"""The history of 3DS operations at D1 (D1 API: 3DS operations): the port `gateway.ports.OperationHistory`."""

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

_MOST_REMAINING = 2**32 - 1


class D1OperationHistory:
    """Operations at D1. What each method means, and what it raises, stands at `gateway.ports.OperationHistory`.

    Kinds, states and fields that D1 adds are taken as they come. An operation that cannot be read in what D1 has to say
    (its id, kind, state or time) fails the whole answer with UPSTREAM_CONTRACT, which names the place: a history with a
    hole in it would pass for the whole one.
    """

    def __init__(self, client: D1Client) -> None:
        """Work through a client that outlives this."""
        self._client = client

    async def list_operations(self, card_id: str, offset: int, limit: int, call: Call) -> HistoryPage:
        """List operations, newest first."""
        query = {endpoints.OFFSET: offset, endpoints.LIMIT: limit}
        answer = await self._client.call(endpoints.LIST_OPERATIONS, call, query=query, card_id=card_id)
        page = answer.json_object() or {}
        name = FIELDS["operations"]
        items = page.get(name)
        remaining = _count(page.get(FIELDS["remaining_operations"]))
        if not isinstance(items, list) or remaining is None:
            raise _unreadable(answer, "it lists no operations, or does not say how many remain")
        if len(items) > limit or (remaining and not items):
            raise _unreadable(answer, "it lists more operations than were asked for, or none where some remain")
        operations = [_operation(item, answer, f"{name}[{place}]") for place, item in enumerate(items)]
        return HistoryPage(operations, remaining)

    async def get_operation(self, card_id: str, operation_id: str, call: Call) -> operation_pb2.Operation:
        """Get one operation."""
        answer = await self._client.call(endpoints.GET_OPERATION, call, card_id=card_id, operation_id=operation_id)
        operation = _operation(answer.json_object(), answer)
        if operation.operation_id != operation_id:
            raise _unreadable(answer, "it is another operation than was asked for")
        return operation


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_REMAINING
    return value if is_count else None


def _operation(value: Any, answer: UpstreamResponse, place: str = "") -> operation_pb2.Operation:
    if not isinstance(value, dict):
        raise _unreadable(answer, f"{place or 'it'} is no object")
    operation = operation_pb2.Operation()
    try:
        parse_operation(Fields(value, f"{place}." if place else ""), operation)
    except FieldError as error:
        raise _unreadable(answer, str(error)) from None
    return operation


def _unreadable(answer: UpstreamResponse, why: str) -> GatewayError:
    return contract_broken(f"D1's answer cannot be read: {why}.", status=answer.status)
