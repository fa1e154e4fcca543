"""Pages of a card's operations that stay right while new ones arrive.

The card system counts from the newest operation, so each new one moves all others to a higher offset, and the oldest
vanish. A page token therefore remembers the last operation that was given out, its anchor, and the offset where that
stood. The next page is read from there: if the anchor has moved it can only have moved on, so it is searched for in
that direction; and if it has vanished, so has all that was older.
"""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.errors import FieldViolation, GatewayError, Outcome
from gateway.ports import Call, OperationHistory
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import history_pb2, operation_pb2

__all__ = ["LONGEST_READ", "MOST_READS", "Anchor", "decode", "encode", "read_page"]

LONGEST_READ: Final = 50
"""How many operations a history lists at most."""
MOST_READS: Final = 20
"""After how many reads the search for an anchor ends; each passes over at most `LONGEST_READ` new operations."""

_VERSION = b"\x01"
_DIGEST_BYTES = 16
_OFFSET_BYTES = 8


@dataclass(frozen=True, slots=True)
class Anchor:
    """The last operation that a page gave out."""

    operation_id: str
    offset: int
    """How many newer operations there were when it was seen; there are never fewer."""


class _Stretch(NamedTuple):
    """Operations that follow each other in the history, read all at once."""

    offset: int
    """How many newer operations there are than the first one."""
    operations: Sequence[operation_pb2.Operation]
    remaining: int
    """How many older ones follow."""


_NOTHING = _Stretch(0, (), 0)


async def read_page(
    history: OperationHistory, card_id: str, page_size: int, page_token: str, call: Call
) -> history_pb2.ListOperationsResponse:
    """Read a page of a card's operations, newest first.

    It may hold fewer operations than there are, but it is empty only if none follow.

    Args:
        history: Where they are.
        card_id: The card.
        page_size: How many at most, 1 to 50.
        page_token: What came with the page before; empty for the first page.
        call: For whom, and until when.

    Raises:
        GatewayError: PAGE_TOKEN_INVALID, or what the history raises.
    """
    if page_token:
        anchor = decode(page_token, call.issuer_id, card_id)
        stretch = await _read_behind(anchor, history, card_id, page_size, call)
    else:
        page = await history.list_operations(card_id, 0, page_size, call)
        stretch = _Stretch(0, page.operations, page.remaining)
    given = stretch.operations[:page_size]
    remaining = stretch.remaining + len(stretch.operations) - len(given)
    response = history_pb2.ListOperationsResponse(operations=given, remaining_operations=remaining)
    if remaining:
        last = Anchor(given[-1].operation_id, stretch.offset + len(given) - 1)
        response.next_page_token = encode(last, call.issuer_id, card_id)
    return response


async def _read_behind(anchor: Anchor, history: OperationHistory, card_id: str, page_size: int, call: Call) -> _Stretch:
    """Read what follows an anchor: at least one operation, unless there is none.

    Raises:
        GatewayError: PAGE_TOKEN_INVALID if so many operations are new that the search has to end.
    """
    offset = anchor.offset
    # The read begins with the anchor itself: only that shows whether what follows is what followed it before.
    limit = min(1 + page_size, LONGEST_READ)
    for _ in range(MOST_READS):
        page = await history.list_operations(card_id, offset, limit, call)
        ids = [operation.operation_id for operation in page.operations]
        if anchor.operation_id in ids:
            place = ids.index(anchor.operation_id)
            if place + 1 < len(ids) or not page.remaining:
                return _Stretch(offset + place + 1, page.operations[place + 1 :], page.remaining)
            offset += place
        elif page.remaining:
            offset += len(ids)
        else:
            return _NOTHING
        limit = LONGEST_READ
    raise _invalid(
        "Too many operations are new since this page token was given out: begin again without one.",
        error_pb2.OUTCOME_REJECTED,
    )


def encode(anchor: Anchor, issuer_id: str, card_id: str) -> str:
    """Write a page token: the base64url of its version, a digest, the offset and the operation's id.

    The digest ties it to the issuer and the card, and tells when it was garbled. It is no signature, and needs to be
    none: a token leads to nothing that its caller could not list without it.
    """
    content = anchor.offset.to_bytes(_OFFSET_BYTES) + anchor.operation_id.encode()
    scope = f"{issuer_id}\0{card_id}\0".encode()
    digest = hashlib.sha256(_VERSION + scope + content).digest()[:_DIGEST_BYTES]
    return urlsafe_b64encode(_VERSION + digest + content).rstrip(b"=").decode()


def decode(token: str, issuer_id: str, card_id: str) -> Anchor:
    """Read a page token.

    Raises:
        GatewayError: PAGE_TOKEN_INVALID if it was not given out for that card of that issuer.
    """
    try:
        content = urlsafe_b64decode(token + "=" * (-len(token) % 4))[len(_VERSION) + _DIGEST_BYTES :]
    except ValueError:
        content = b""
    offset, operation_id = content[:_OFFSET_BYTES], content[_OFFSET_BYTES:]
    anchor = Anchor(operation_id.decode(errors="replace"), int.from_bytes(offset))
    if encode(anchor, issuer_id, card_id) != token:
        raise _invalid(
            "This page token was not given out for this card: begin again without one.", error_pb2.OUTCOME_NOT_SENT
        )
    return anchor


def _invalid(message: str, outcome: Outcome) -> GatewayError:
    return GatewayError(
        error_pb2.ERROR_REASON_PAGE_TOKEN_INVALID,
        message,
        outcome=outcome,
        violations=[FieldViolation("page_token", "must be one of ListOperations for this card", "page_token.known")],
    )
