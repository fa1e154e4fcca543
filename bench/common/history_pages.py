"""Pages of D1's history of 3DS operations, as ready bytes (D1 API: 3DS operations)."""

import itertools
import re
from datetime import UTC, datetime
from typing import Final

import orjson

from sandbox.d1.model.notification import new_details

__all__ = ["HISTORY_PATH", "SINCE", "HistoryPages", "card_ids"]

HISTORY_PATH: Final = b"/banking/v1/issuers/"
SINCE: Final = datetime(2026, 6, 1, tzinfo=UTC)
"""The new operations are from after it, the others from before."""

_TOTAL: Final = 1000
_READ: Final = re.compile(rb"/cards/new_(\d+)_\d+/3ds/operations\?offset=(\d+)&limit=(\d+)")


def card_ids(new: int, count: int) -> list[str]:
    """Return cards with so many new operations, which are other ones each time that they are read."""
    return [f"new_{new}_{place}" for place in range(count)]


class HistoryPages:
    """Responds with full pages, as for cards that are used all year."""

    def __init__(self) -> None:
        """Prepare the constant parts."""
        self._new, self._old = _operation("2026-11-01T12:34:56.789Z"), _operation("2026-01-31T12:34:56.789Z")
        self._places = itertools.count()

    def page(self, path: bytes) -> bytes | None:
        """Return the body for the path of a card's operations; None for another path."""
        found = _READ.search(path)
        if found is None:
            return None
        new, offset, limit = map(int, found.groups())
        forms = [self._new if place < new else self._old for place in range(offset, offset + limit)]
        operations = b",".join(form % next(self._places) for form in forms)
        return b'{"operations":[%b],"remainingOperations":%d}' % (operations, _TOTAL - offset - limit)


def _operation(start_time: str) -> bytes:
    return orjson.dumps(
        {
            "operationId": "op_%020d",
            "operation": "3DS_CHALLENGE_OOB",
            "status": "SUCCESSFUL",
            "startTime": start_time,
            "consumerId": "consumer_bench",
            "details": new_details(),
        }
    )
