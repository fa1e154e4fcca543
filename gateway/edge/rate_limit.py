"""So many of something from one peer in some time, and no more."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

__all__ = ["RateLimit"]

_MOST_PEERS: Final = 1024


class RateLimit:
    """A bucket of tokens for each peer, that fills up steadily; the peers least lately seen are forgotten."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] | None = None) -> None:
        """Prepare.

        Args:
            most: How many are free for a peer at once.
            seconds: How long it takes until a peer that has used them all has as many again.
            clock: Returns a time in seconds that never goes back; None for the event loop's.
        """
        self._most = most
        self._per_second = most / seconds
        self._clock = clock
        # What is left, and when that was so.
        self._peers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_seconds(self, peer: str) -> int:
        """Tell after how many whole seconds there will be another one for a peer; 0 if there is one now."""
        left = self._left(peer)
        return 0 if left >= 1 else math.ceil((1 - left) / self._per_second)

    def take(self, peer: str) -> None:
        """Use one up."""
        self._peers[peer] = (max(0.0, self._left(peer) - 1), self._now())
        self._peers.move_to_end(peer)
        if len(self._peers) > _MOST_PEERS:
            self._peers.popitem(last=False)

    def _left(self, peer: str) -> float:
        now = self._now()
        left, since = self._peers.get(peer, (float(self._most), now))
        return min(float(self._most), left + (now - since) * self._per_second)

    def _now(self) -> float:
        return asyncio.get_running_loop().time() if self._clock is None else self._clock()
