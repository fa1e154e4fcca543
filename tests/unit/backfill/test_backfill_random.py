"""Backfills in many short random lives, each checked at its end against what is promised.

A failure prints the seed, and what happened. Exactly that life is played with ``D1_BACKFILL_SEED=<seed>
D1_BACKFILL_LIVES=1``; more of them than usual, with ``D1_BACKFILL_LIVES=100000``.
"""

import asyncio
import os
from collections import Counter

import pytest

from issuer.notification.v1.messages_pb2 import Notification
from tests.fakes import FakeEventLog
from tests.unit.backfill.backfill_lives import Life
from tests.unit.http.virtual_time import in_virtual_time

_FIRST = int(os.environ.get("D1_BACKFILL_SEED", "1"))
_END = _FIRST + int(os.environ.get("D1_BACKFILL_LIVES", "200"))
_AT_ONCE = 50


def _played(seed: int, crash_step: int | None = None) -> Life:
    lives: list[Life] = []

    async def play() -> Life:
        log = FakeEventLog()
        loop = asyncio.get_running_loop()

        async def trim(through: int) -> None:
            log.trim(through)

        def outage(seconds: float) -> None:
            log.fail()
            loop.call_later(seconds, log.recover)

        lives.append(life := Life(seed, log, trim, outage=outage))
        await life.play(crash_step)
        return life

    try:
        return in_virtual_time(play())
    except Exception as error:  # noqa: BLE001  whatever it raises is a failure of this life
        again = f"seed {seed}: D1_BACKFILL_SEED={seed} D1_BACKFILL_LIVES=1 plays it again"
        at = "" if crash_step is None else f"; cut off at step {crash_step}"
        history = [line for life in lives for line in life.history]
        pytest.fail("\n".join((f"{type(error).__name__}: {error}", f"{again}{at}. It was:", *history)), pytrace=False)


@pytest.mark.parametrize("first", range(_FIRST, _END, _AT_ONCE))
def test_the_log_ends_with_the_history_whatever_happens_to_a_backfill(first: int) -> None:
    for seed in range(first, min(first + _AT_ONCE, _END)):
        _played(seed)


@pytest.mark.parametrize("seed", range(_FIRST, _FIRST + 5))
def test_a_crash_at_any_step_of_a_backfill_loses_and_repeats_nothing(seed: int) -> None:
    step = 1
    while _played(seed, step).is_cut_off:
        # All of the first ones, then fewer: most steps of a long backfill are like the one before.
        step += 1 + step // 20
    assert step > 3


def test_the_lives_reach_all_that_can_happen_to_an_operation() -> None:
    happened: Counter[str] = Counter()
    for life in map(_played, range(1, 61)):
        results = [run.result for run in life.seen.runs]
        stored = [Notification.FromString(event.payload) for _, event in life.seen.stored]
        happened["recovered"] += sum(each.recovered for each in stored)
        happened["notified"] += sum(not each.recovered for each in stored)
        happened["notified after it was recovered, or twice"] += sum(not new for _, new in life.seen.acknowledged)
        happened["notified in another state"] += sum(result.differing_count for result in results)
        happened["without an id"] += sum(result.unusable_count for result in results)
        happened["left out because of an error"] += sum(result.error is not None for result in results)
        happened["removed"] += len(life.seen.removed)
        happened["lost"] += sum("is lost" in line for line in life.history)
        happened["cut off"] += life.is_cut_off

    assert len(happened) == 9
    assert min(happened.values()) >= 5, happened
