"""The broker in many short random lives, each checked step by step against what it promises.

A failure prints the seed, the shortest schedule that still fails, and what happened in it. Exactly that one is played
with ``D1_BROKER_SEED=<seed> D1_BROKER_SCHEDULES=1``; more of them than usual, with ``D1_BROKER_SCHEDULES=1000000``.
"""

import os
from collections import Counter

import pytest

from tests.unit.callbacks.broker_schedules import Step, a_schedule, failure_of, play, shortest
from tests.unit.callbacks.broker_watch import WatchedBroker

_FIRST_SEED = int(os.environ.get("D1_BROKER_SEED", "1"))
_SCHEDULES = int(os.environ.get("D1_BROKER_SCHEDULES", "20000"))
# So few that each test stays far below the time that a test may take, on a busy machine too.
_SCHEDULES_AT_ONCE = 1000
_END = _FIRST_SEED + _SCHEDULES


@pytest.mark.parametrize("first", range(_FIRST_SEED, _END, _SCHEDULES_AT_ONCE))
def test_every_promise_is_kept_whatever_handlers_and_askers_do(first: int) -> None:
    for seed in range(first, min(first + _SCHEDULES_AT_ONCE, _END)):
        steps = a_schedule(seed)
        if failure_of(steps) is not None:
            pytest.fail(_report(seed, shortest(steps)), pytrace=False)


def test_the_schedules_reach_all_that_can_happen_to_a_callback() -> None:
    seen: Counter[str] = Counter()
    for seed in range(300):
        watch = WatchedBroker()
        play(watch, a_schedule(seed))
        seen.update(" ".join(line.split()[2:]) for line in watch.history)
        seen.update(f"attempt {len(asked.peers)}" for asked in watch.asked)

    expected = {
        "attempt 0",
        "attempt 1",
        "attempt 2",
        "attempt 3",
        "drains",
        "ends with deliver_otp",
        "ends with nothing",
        "ends with refusal",
        "is gone",
        "is told REPLY_OUTCOME_ACCEPTED",
        "is told REPLY_OUTCOME_ALREADY_ANSWERED",
        "is told REPLY_OUTCOME_INVALID",
        "is told REPLY_OUTCOME_LATE",
        "is told REPLY_OUTCOME_UNKNOWN_TOKEN",
    }
    assert {each for each in expected if seen[each] < 20} == set()


def _report(seed: int, steps: list[Step]) -> str:
    failure = failure_of(steps)
    assert failure is not None
    return "\n".join(
        (
            failure.message,
            f"seed {seed}: D1_BROKER_SEED={seed} D1_BROKER_SCHEDULES=1 plays it again; the least of it that fails:",
            *(f"    {step}" for step in steps),
            "what happened:",
            *failure.history,
        )
    )
