"""The broker in many short random lives, each checked step by step against what it promises.

A failure prints the seed, the shortest schedule that still fails, and what happened in it. Exactly that one is played
with ``D1_BROKER_SEED=<seed> D1_BROKER_SCHEDULES=1``; more of them than usual, with ``D1_BROKER_SCHEDULES=1000000``.
"""

from collections import Counter

import pytest

from gateway.ports import CallbackOutcome
from tests.unit.callbacks.broker_schedules import schedule_of
from tests.unit.callbacks.random_lives import Lives

_LIVES = Lives("BROKER", schedule_of, 20_000, at_once=1000)


@pytest.mark.parametrize("first", _LIVES.blocks)
def test_every_promise_is_kept_whatever_handlers_and_the_platform_do(first: int) -> None:
    _LIVES.check(first)


def test_the_schedules_reach_all_that_can_happen_to_a_callback_request() -> None:
    seen: Counter[str] = Counter()
    for watch in _LIVES.played(1000):
        seen.update(line.partition(" - ")[2].partition(" ")[2] for line in watch.history)
        seen.update(line.rpartition(" ")[2] for line in watch.history)
        seen.update(f"attempt {len(request.peers)}" for request in watch.requests)

    expected = {
        *(f"attempt {number}" for number in range(4)),
        "drains",
        *(f"ends with {outcome}" for outcome in CallbackOutcome if outcome != CallbackOutcome.WITHDRAWN),
        "gone",
        "REPLY_OUTCOME_ACCEPTED",
        "REPLY_OUTCOME_ALREADY_ANSWERED",
        "REPLY_OUTCOME_INVALID",
        "REPLY_OUTCOME_LATE",
        "REPLY_OUTCOME_NOT_REGISTERED",
        "REPLY_OUTCOME_UNKNOWN_TOKEN",
    }
    assert {each for each in expected if seen[each] < 20} == set()
