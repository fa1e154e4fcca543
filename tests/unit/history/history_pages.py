"""A `gateway.ports.OperationHistory` in memory, whose operations come and go as it is told."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gateway.errors import GatewayError
from gateway.ports import Call, HistoryPage
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import operation_pb2

__all__ = ["CALL", "CARD", "ISSUER", "Change", "FakeOperationHistory"]

ISSUER = "ISSUER0001"
CARD = "card-1"
CALL = Call(ISSUER, "correlation-1")


class Change(NamedTuple):
    """What happens to a history in a moment."""

    new: int = 0
    """How many operations arrive."""
    vanishing: int = 0
    """How many of the oldest vanish."""


class FakeOperationHistory:
    """Holds the operations of one card. Before and after each read, the next of its changes happens."""

    def __init__(self, count: int, changes: Iterable[Change] = ()) -> None:
        self.ids: list[str] = []
        """Newest first."""
        self.first_seen: list[str] | None = None
        """All that there was when it was first read."""
        self.reads: list[tuple[int, int]] = []
        """The offset and the limit of each."""
        self._changes: Iterator[Change] = iter(changes)
        self._made = 0
        self.change(Change(new=count))

    def change(self, change: Change) -> None:
        """Let operations arrive, and old ones vanish."""
        for _ in range(change.new):
            self._made += 1
            self.ids.insert(0, f"op-{self._made}")
        del self.ids[len(self.ids) - min(change.vanishing, len(self.ids)) :]

    def pass_time(self) -> None:
        """Let the next change happen, if there is one left."""
        self.change(next(self._changes, Change()))

    async def list_operations(self, card_id: str, offset: int, limit: int, call: Call) -> HistoryPage:
        assert (card_id, call.issuer_id) == (CARD, ISSUER)
        assert 1 <= limit <= 50
        self.pass_time()
        self.reads.append((offset, limit))
        if self.first_seen is None:
            self.first_seen = list(self.ids)
        listed = [operation_pb2.Operation(operation_id=each) for each in self.ids[offset : offset + limit]]
        page = HistoryPage(listed, max(0, len(self.ids) - offset - len(listed)))
        self.pass_time()
        return page

    async def get_operation(self, card_id: str, operation_id: str, call: Call) -> operation_pb2.Operation:
        assert (card_id, call.issuer_id) == (CARD, ISSUER)
        if operation_id not in self.ids:
            raise GatewayError(error_pb2.ERROR_REASON_UPSTREAM_NOT_FOUND, "no such operation")
        return operation_pb2.Operation(operation_id=operation_id)
