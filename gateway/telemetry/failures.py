"""The latest failures, for the operators' page: what the log says of them, without a search of the log."""

import heapq
import itertools
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from gateway.logging import correlation

__all__ = ["Failure", "Failures"]

_KEPT: Final = 10
"""How many failures of an operation are kept for each reason, so that a frequent failure hides no rare one."""
_CARD_NUMBER: Final = re.compile(r"(?:[0-9][_-]?){12,19}")


@dataclass(frozen=True, slots=True)
class Failure:
    """A call, a callback or a callback request that failed."""

    time: float
    """When it ended, in seconds since 1970 (UTC)."""
    operation: str
    """The rpc, the route of the edge, or the kind of callback."""
    reason: str
    """The reason or the gRPC status, the HTTP status, or how the callback request ended."""
    outcome: str
    """Whether the upstream may have acted; empty if that does not arise."""
    correlation_id: str
    """As in the log, but for what could be a card's number."""


@dataclass(slots=True)
class _Kind:
    count: int = 0
    latest: deque[tuple[int, Failure]] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """Each with its number among all failures."""


class Failures:
    """Counts failures by operation and reason, and keeps the latest of each.

    Operations and reasons come from the gateway's own lists, so there is a limit to what is kept.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _Kind] = {}
        self._numbers = itertools.count()

    def note(self, operation: str, reason: str, outcome: str = "") -> None:
        """Note a failure of the call or callback that the running task serves."""
        correlation_id = correlation.current_printable()
        # The log is for fewer eyes than a page on a plain port.
        if _CARD_NUMBER.fullmatch(correlation_id):
            correlation_id = "****"
        kind = self._kinds.setdefault((operation, reason), _Kind())
        kind.count += 1
        failure = Failure(time.time(), operation, reason, outcome, correlation_id)
        kind.latest.append((next(self._numbers), failure))

    def latest(self, limit: int) -> Sequence[Failure]:
        """Return the latest failures, the newest first."""
        # Not by time, which a clock that is set back repeats.
        numbered = (each for kind in self._kinds.values() for each in kind.latest)
        return [failure for _, failure in heapq.nlargest(limit, numbered, key=itemgetter(0))]

    def counts(self, operation: str) -> Mapping[str, int]:
        """Return the number of failures of an operation by reason, the most frequent first."""
        found = {reason: kind.count for (of, reason), kind in self._kinds.items() if of == operation}
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
