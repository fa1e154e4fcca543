"""The endpoints of D1's history of 3DS operations (D1 API: 3DS operations)."""

from aiohttp import web

from sandbox.common.fields import InvalidFormatError, InvalidValueError, text
from sandbox.d1.api.requests import check_envelope
from sandbox.d1.model import contract
from sandbox.d1.model.contract import Operation
from sandbox.d1.model.errors import not_found
from sandbox.d1.model.issuers import Issuers
from sandbox.d1.model.notification import History, Notification
from sandbox.d1.model.store import CardStore

__all__ = ["HistoryEndpoints"]

_MOST_DIGITS = 9


class HistoryEndpoints:
    """The history endpoints."""

    def __init__(self, issuers: Issuers, history: History, cards: CardStore) -> None:
        self._issuers = issuers
        self._history = history
        self._cards = cards

    def routes(self) -> list[web.RouteDef]:
        """Return the routes, each named after its operation."""
        return [
            web.get(contract.THREE_DS_OPERATIONS_PATH, self._list, name=Operation.LIST_THREE_DS_OPERATIONS.value),
            web.get(contract.THREE_DS_OPERATION_PATH, self._get, name=Operation.GET_THREE_DS_OPERATION.value),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        card_id = self._card_id(request)
        offset = _number(request, "offset", default=0)
        limit = _number(request, "limit", default=contract.DEFAULT_PAGE)
        if not 1 <= limit <= contract.LARGEST_PAGE:
            raise InvalidValueError("limit")
        operations = self._operations(card_id)
        page = operations[offset : offset + limit]
        remaining = max(0, len(operations) - offset - len(page))
        return web.json_response(
            {"operations": [operation.body() for operation in page], "remainingOperations": remaining}
        )

    async def _get(self, request: web.Request) -> web.Response:
        card_id = self._card_id(request)
        operation_id = text(request.match_info, "operationId", contract.OPERATION_ID)
        for operation in self._operations(card_id):
            if operation.operation_id == operation_id:
                return web.json_response(operation.body())
        raise not_found("Operation")

    def _card_id(self, request: web.Request) -> str:
        check_envelope(request, self._issuers)
        return text(request.match_info, "cardId", contract.CARD_ID)

    def _operations(self, card_id: str) -> list[Notification]:
        return self._history.of(self._cards.card(card_id).card_id)


def _number(request: web.Request, name: str, *, default: int) -> int:
    digits = request.query.get(name)
    if digits is None:
        return default
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS):
        raise InvalidFormatError(name)
    return int(digits)
