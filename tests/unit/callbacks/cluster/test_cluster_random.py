"""Two and three gateways in many short random lives, with a network that delays and loses, and gateways that fail.

A failure prints the seed, the shortest schedule that still fails, and what happened in it. Exactly that one is played
with ``D1_CLUSTER_SEED=<seed> D1_CLUSTER_SCHEDULES=1``; more of them than usual, with ``D1_CLUSTER_SCHEDULES=100000``.
"""

import os
from collections import Counter
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from tests.unit.callbacks.cluster.cluster_schedules import Schedule, a_schedule, failure_of, play, shortest
from tests.unit.callbacks.cluster.cluster_watch import WatchedCluster

_FIRST_SEED = int(os.environ.get("D1_CLUSTER_SEED", "1"))
_SCHEDULES = int(os.environ.get("D1_CLUSTER_SCHEDULES", "4000"))
_SCHEDULES_AT_ONCE = 500
_END = _FIRST_SEED + _SCHEDULES


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Gateways that come and go thousands of times need not say so."""
    with capture_logs():
        yield


@pytest.mark.parametrize("first", range(_FIRST_SEED, _END, _SCHEDULES_AT_ONCE))
def test_gateways_keep_every_promise_whatever_befalls_them(first: int) -> None:
    for seed in range(first, min(first + _SCHEDULES_AT_ONCE, _END)):
        schedule = a_schedule(seed)
        if failure_of(schedule) is not None:
            pytest.fail(_report(shortest(schedule)), pytrace=False)


def test_the_schedules_reach_all_that_can_happen_to_a_callback_between_gateways() -> None:
    seen: Counter[str] = Counter()
    for seed in range(500):
        schedule = a_schedule(seed)
        watch = WatchedCluster(seed, schedule.gateways, is_calm=schedule.is_calm)
        play(watch, schedule)
        for query in watch.queries:
            elsewhere = [peer for peer in query.peers if peer.gateway is not query.gateway]
            seen[f"sent to {len(query.peers)}"] += 1
            seen["sent elsewhere"] += bool(elsewhere)
            seen["sent here and elsewhere"] += 0 < len(elsewhere) < len(query.peers)
            seen["ended without a reply"] += query.ends == [None]
        for reply in watch.replies:
            place = "elsewhere" if reply.peer.gateway is not reply.query.gateway else "here"
            seen.update(f"{outcome} {place}" for outcome in reply.told)

    expected = {
        *(f"sent to {number}" for number in range(4)),
        *(f"{outcome} {place}" for outcome in (1, 2, 3, 5) for place in ("here", "elsewhere")),
        "sent elsewhere",
        "sent here and elsewhere",
        "ended without a reply",
    }
    assert {each for each in expected if seen[each] < 15} == set()


def _report(schedule: Schedule) -> str:
    failure = failure_of(schedule)
    assert failure is not None
    seed = schedule.seed
    return "\n".join(
        (
            failure.message,
            f"seed {seed}: D1_CLUSTER_SEED={seed} D1_CLUSTER_SCHEDULES=1 plays it again; the least of it that fails,",
            f"with {schedule.gateways} gateways, calm: {schedule.is_calm}:",
            *(f"    {step}" for step in schedule.steps),
            "what happened:",
            *failure.history,
        )
    )
