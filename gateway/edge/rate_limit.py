"""A rate limit per peer."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

__all__ = ["RateLimit"]

_MAX_PEERS: Final = 1024


class RateLimit:
    """A token bucket per peer that refills steadily; the least recently seen peers are forgotten."""

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float] | None = None) -> None:
        """Start with full buckets.

        Args:
            limit: Tokens in a full bucket.
            seconds: Time in which an empty bucket becomes full.
            clock: Monotonic time in seconds; None for the event loop's clock.
        """
        self._limit = limit
        self._per_second = limit / seconds
        self._clock = clock
        # Tokens left, and when they were counted.
        self._peers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_seconds(self, peer: str) -> int:
        """Return after how many whole seconds a peer's next token is available; 0 if one is available now."""
        left = self._left(peer)
        return 0 if left >= 1 else math.ceil((1 - left) / self._per_second)

    def take(self, peer: str) -> None:
        """Use a token."""
        self._peers[peer] = (max(0.0, self._left(peer) - 1), self._now())
        self._peers.move_to_end(peer)
        if len(self._peers) > _MAX_PEERS:
            self._peers.popitem(last=False)

    def _left(self, peer: str) -> float:
        now = self._now()
        left, since = self._peers.get(peer, (float(self._limit), now))
        return min(float(self._limit), left + (now - since) * self._per_second)

    def _now(self) -> float:
        return asyncio.get_running_loop().time() if self._clock is None else self._clock()
