"""Two and three gateways in many short random lives, with a network that delays and loses, and gateways that fail.

A failure prints the seed, the shortest schedule that still fails, and what happened in it. Exactly that one is played
with ``D1_CLUSTER_SEED=<seed> D1_CLUSTER_SCHEDULES=1``; more of them than usual, with ``D1_CLUSTER_SCHEDULES=100000``.
"""

from collections import Counter
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from gateway.ports import CallbackOutcome
from tests.unit.callbacks.cluster.cluster_schedules import schedule_of
from tests.unit.callbacks.cluster.cluster_watch import WatchedCluster
from tests.unit.callbacks.random_lives import Lives

_LIVES = Lives("CLUSTER", schedule_of, 4000, at_once=500)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Gateways that come and go thousands of times need not say so."""
    with capture_logs():
        yield


@pytest.mark.parametrize("first", _LIVES.blocks)
def test_gateways_keep_every_promise_whatever_befalls_them(first: int) -> None:
    _LIVES.check(first)


def test_the_schedules_reach_all_that_can_happen_to_a_callback_request_between_gateways() -> None:
    seen: Counter[str] = Counter()
    for watch in _LIVES.played(1000):
        assert isinstance(watch, WatchedCluster)
        for request in watch.requests:
            elsewhere = [peer for peer in request.peers if peer.place is not request.place]
            seen[f"sent to {len(request.peers)}"] += 1
            seen["sent elsewhere"] += bool(elsewhere)
            seen["sent here and elsewhere"] += 0 < len(elsewhere) < len(request.peers)
            seen["exhausted"] += CallbackOutcome.EXHAUSTED in request.ends
            seen["ended without a reply"] += bool(request.ends) and isinstance(request.ends[0], CallbackOutcome)
        for reply in watch.replies:
            place = "elsewhere" if reply.peer.place is not reply.request.place else "here"
            seen.update(f"{outcome} {place}" for outcome in reply.outcomes)

    expected = {
        *(f"sent to {number}" for number in range(4)),
        *(f"{outcome} {place}" for outcome in (1, 2, 3, 5, 6) for place in ("here", "elsewhere")),
        "sent elsewhere",
        "sent here and elsewhere",
        "exhausted",
        "ended without a reply",
    }
    assert {each for each in expected if seen[each] < 15} == set()
