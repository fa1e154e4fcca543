"""D1's history of 3DS operations (D1 API: 3DS operations), kept for a year, and the calls that read it."""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from aiohttp import web

from sandbox.d1 import contract
from sandbox.d1.contract import Operation
from sandbox.d1.errors import not_found
from sandbox.d1.notification import Notification
from sandbox.d1.requests import check_envelope
from sandbox.d1.store import CardStore
from sandbox.fields import InvalidFormatError, InvalidValueError, text

__all__ = ["History", "HistoryEndpoints"]

_MOST_DIGITS = 9


class History:
    """The 3DS operations of every card, in memory."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Have an empty history.

        Args:
            clock: Tells the time, in seconds since 1970 (UTC).
        """
        self._clock = clock
        self._operations: defaultdict[str, list[Notification]] = defaultdict(list)

    def add(self, operation: Notification) -> None:
        """Keep an operation, as it is notified."""
        self._operations[operation.card_id].append(operation)

    def of(self, card_id: str) -> list[Notification]:
        """The operations of a card, newest first, without those that are older than a year."""
        oldest = datetime.fromtimestamp(self._clock(), UTC) - timedelta(seconds=contract.HISTORY_SECONDS)
        # Of operations of the same time, the one that came last is the newest.
        came_last_first = reversed(self._operations.get(card_id, []))
        kept = (operation for operation in came_last_first if operation.start_time >= oldest)
        return sorted(kept, key=lambda operation: operation.start_time, reverse=True)


class HistoryEndpoints:
    """Answers the calls that read the history."""

    def __init__(self, issuer_id: str, history: History, cards: CardStore) -> None:
        self._issuer_id = issuer_id
        self._history = history
        self._cards = cards

    def routes(self) -> list[web.RouteDef]:
        """The routes, each named after its operation."""
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
        check_envelope(request, self._issuer_id)
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
