"""Pages of a card's operations that stay consistent while new operations arrive.

The card platform counts from the newest operation, so each new one moves all others to a higher offset, and the oldest
vanish. A page token therefore names the last operation of its page, the anchor, and its offset. The next page is read
from there. If the anchor has moved, its offset is higher, so the search goes in that direction. If it has vanished, so
has everything older.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.formats.page_tokens import PageTokens
from gateway.ports import Call, OperationHistory
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import history_pb2, operation_pb2

__all__ = ["MAX_READS", "MAX_READ_SIZE", "Anchor", "decode", "encode", "read_page"]

MAX_READ_SIZE: Final = 50
"""The most operations that a history returns at once."""
MAX_READS: Final = 20
"""The most reads in a search for an anchor; each skips at most `MAX_READ_SIZE` new operations."""

_OFFSET_BYTES = 8


@dataclass(frozen=True, slots=True)
class Anchor:
    """The last operation of a page."""

    operation_id: str
    offset: int
    """The number of newer operations at the time; it never decreases."""


class _Slice(NamedTuple):
    """Consecutive operations of the history, from one read."""

    offset: int
    """The number of operations newer than the first one."""
    operations: Sequence[operation_pb2.ThreeDSOperation]
    remaining: int
    """The number of older operations that follow."""


_EMPTY = _Slice(0, (), 0)


async def read_page(
    history: OperationHistory, card_id: str, page_size: int, page_token: str, tokens: PageTokens, call: Call
) -> history_pb2.ListThreeDSOperationsResponse:
    """Read a page of a card's operations, newest first.

    A page may be shorter than `page_size`, but it is empty only if no operations follow.

    Args:
        history: The history.
        card_id: The card.
        page_size: The most operations to return, 1 to 50.
        page_token: The token of the previous page; empty for the first page.
        tokens: The page tokens of this list.
        call: The issuer and the deadline.

    Raises:
        GatewayError: PAGE_TOKEN_INVALID, or an error of the history.
    """
    if page_token:
        anchor = decode(page_token, tokens)
        found = await _read_behind(anchor, history, card_id, page_size, tokens, call)
    else:
        page = await history.list_operations(card_id, 0, page_size, call)
        found = _Slice(0, page.operations, page.remaining)
    operations = found.operations[:page_size]
    remaining = found.remaining + len(found.operations) - len(operations)
    response = history_pb2.ListThreeDSOperationsResponse(operations=operations, remaining_operation_count=remaining)
    if remaining:
        last = Anchor(operations[-1].operation_id, found.offset + len(operations) - 1)
        response.next_page_token = encode(last, tokens)
    return response


async def _read_behind(
    anchor: Anchor, history: OperationHistory, card_id: str, page_size: int, tokens: PageTokens, call: Call
) -> _Slice:
    """Read what follows an anchor: at least one operation, unless there is none.

    Raises:
        GatewayError: PAGE_TOKEN_INVALID if there are too many new operations to find the anchor.
    """
    offset = anchor.offset
    # The read starts at the anchor, to see whether what follows is what followed it before.
    limit = min(1 + page_size, MAX_READ_SIZE)
    for _ in range(MAX_READS):
        page = await history.list_operations(card_id, offset, limit, call)
        ids = [operation.operation_id for operation in page.operations]
        if anchor.operation_id in ids:
            index = ids.index(anchor.operation_id)
            if index + 1 < len(ids) or not page.remaining:
                return _Slice(offset + index + 1, page.operations[index + 1 :], page.remaining)
            offset += index
        elif page.remaining:
            offset += len(ids)
        else:
            return _EMPTY
        limit = MAX_READ_SIZE
    raise tokens.invalid(
        "Too many operations are new since this page token was issued; start again without one.",
        error_pb2.ERROR_OUTCOME_REJECTED,
    )


def encode(anchor: Anchor, tokens: PageTokens) -> str:
    """Return the page token that continues after an anchor: its offset and the operation's id."""
    place = anchor.offset.to_bytes(_OFFSET_BYTES) + anchor.operation_id.encode()
    return tokens.encode(place)


def decode(token: str, tokens: PageTokens) -> Anchor:
    """Parse a page token.

    Raises:
        GatewayError: PAGE_TOKEN_INVALID if the token is not one of this list.
    """
    place = tokens.decode(token)
    offset, operation_id = place[:_OFFSET_BYTES], place[_OFFSET_BYTES:]
    return Anchor(operation_id.decode(errors="replace"), int.from_bytes(offset))
