"""Callback requests that wait for a handler with room."""

from bisect import bisect_left, insort
from collections.abc import Sequence

from gateway.callbacks.model import HandlerSession, PendingCallback, Topic

__all__ = ["WaitingCallbacks"]


class WaitingCallbacks:
    """The callback requests that wait, by topic."""

    def __init__(self) -> None:
        self._by_topic: dict[Topic, list[PendingCallback]] = {}
        """The most urgent first; no list is empty."""

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(map(len, self._by_topic.values()))

    def add(self, pending: PendingCallback) -> None:
        """Let a callback request wait."""
        pending.is_waiting = True
        insort(self._by_topic.setdefault(pending.topic, []), pending)

    def remove(self, pending: PendingCallback) -> None:
        """Let a callback request wait no longer, if it does."""
        if pending.is_waiting:
            pending.is_waiting = False
            waiting = self._by_topic[pending.topic]
            del waiting[bisect_left(waiting, pending)]
            if not waiting:
                del self._by_topic[pending.topic]

    def of(self, topic: Topic) -> Sequence[PendingCallback]:
        """Return what waits for a handler of a topic."""
        return tuple(self._by_topic.get(topic, ()))

    def most_urgent(self, session: HandlerSession, now: float) -> PendingCallback | None:
        """Return the most urgent callback request that may be sent to a handler."""
        if not self._by_topic:
            return None
        waiting = (self._by_topic.get(topic, ()) for topic in session.topics)
        first = (
            next((each for each in queue if each.can_be_sent(now) and session.identity not in each.tried), None)
            for queue in waiting
        )
        return min((each for each in first if each is not None), default=None)
