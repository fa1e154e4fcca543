"""Workers that live and do nothing any more: who is killed for it, and who is not."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.integration.workers.stage import Stage, is_alive, staged

_PROBE_SECONDS = 0.3
_LIMIT_SECONDS = 6 * _PROBE_SECONDS
_KILLED = "worker hangs and is killed"


@pytest.fixture
async def stage(settings: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """Two workers, of which one that says nothing is found out soon."""
    async with staged(settings, tmp_path, probe_seconds=_PROBE_SECONDS) as started:
        yield started


def _monotonic(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp() - (time.time() - time.monotonic())


def _pause(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


async def test_a_worker_that_hangs_is_killed_and_replaced_and_the_other_serves_on(stage: Stage) -> None:
    first, second = stage.pids()
    began = time.monotonic()
    _pause(first)
    await stage.until_logged(_KILLED)
    took = time.monotonic() - began
    await stage.until(lambda: len(stage.pids()) == 3)
    await stage.until(lambda: not is_alive(first))

    assert took > _LIMIT_SECONDS - _PROBE_SECONDS
    killed = stage.events(_KILLED)
    assert [(line["level"], line["number"], line["pid"]) for line in killed] == [("error", 1, first)]
    assert killed[0]["silent_seconds"] == pytest.approx(_LIMIT_SECONDS)
    assert not stage.events("worker died"), "it is told once"
    await stage.until(lambda: stage.lives[-1].what == "ready")
    assert stage.lives[-1].number == 1
    assert is_alive(second)
    assert await stage.metric("worker_deaths_total") == 1
    assert (await stage.ready())[0] == 200
    assert {await stage.call() for _ in range(40)} == {(1, stage.pids()[-1]), (2, second)}


async def test_of_workers_that_all_hang_none_is_killed_before_the_one_before_it_is_replaced(stage: Stage) -> None:
    old = stage.pids()
    _pause(*old)
    await stage.until(lambda: len(stage.pids()) == 4)

    killed = stage.events(_KILLED)
    assert sorted(line["pid"] for line in killed) == sorted(old)
    log = [line["event"] for line in stage.log if line["level"] == "error"]
    assert log == [_KILLED, _KILLED]
    # When the second one was killed, somebody served again in the place of the first.
    successor_at = [life.at for life in stage.lives if life.what == "ready"][2]
    assert successor_at < _monotonic(killed[1]["timestamp"])
    assert (await stage.ready())[0] == 200


async def test_nobody_is_killed_while_a_place_is_empty(stage: Stage) -> None:
    first, second = stage.pids()
    stage.order("fail", "7")
    os.kill(first, signal.SIGKILL)
    await stage.until_logged("worker died")
    _pause(second)
    await stage.until_logged("worker did not become ready")
    await asyncio.sleep(1.5 * _LIMIT_SECONDS)
    assert is_alive(second)
    assert not stage.events(_KILLED)

    stage.take_back("fail")
    await stage.until_logged(_KILLED)
    await stage.until(lambda: len(stage.pids()) == 4)
    assert stage.events(_KILLED)[0]["pid"] == second


async def test_time_in_which_the_supervisor_stood_still_as_well_counts_for_nothing(stage: Stage) -> None:
    supervisor, workers = stage.process.pid, stage.pids()
    for _ in range(2):
        _pause(supervisor, *workers)
        await asyncio.sleep(1.2 * _LIMIT_SECONDS)
        for pid in (supervisor, *workers):
            os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(_PROBE_SECONDS)

    await asyncio.sleep(_LIMIT_SECONDS)
    assert stage.pids() == workers
    assert (await stage.ready())[0] == 200
    assert not stage.events(_KILLED)


async def test_a_worker_that_comes_back_in_time_is_left_alone(stage: Stage) -> None:
    first = stage.pids()[0]
    for _ in range(2):
        _pause(first)
        await asyncio.sleep(_LIMIT_SECONDS / 2)
        os.kill(first, signal.SIGCONT)
        # Until it has answered again.
        await asyncio.sleep(3 * _PROBE_SECONDS)

    assert is_alive(first)
    assert not stage.events(_KILLED)
    assert (await stage.ready())[0] == 200


async def test_a_worker_that_hangs_is_waited_for_once_and_its_counters_stay(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path, probe_seconds=2) as stage:
        while await _answered_by(stage, 1) < 3:
            pass
        before = await stage.metric("edge_requests_total")
        _pause(stage.pids()[0])
        status, checks = await stage.ready()
        assert (status, checks["worker_1"]) == (503, "serving: no answer within 4 s")
        assert checks["worker_2"] == "ok"

        began = time.monotonic()
        assert (await stage.ready())[1] == checks
        assert await stage.metric("edge_requests_total") == before
        assert await stage.metric("streams_open") == 1
        assert time.monotonic() - began < 3
        os.kill(stage.pids()[0], signal.SIGCONT)
        await stage.until_ready()


async def test_sighup_means_the_supervisor_and_never_ends_a_worker(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        for pid in stage.pids():
            os.kill(pid, signal.SIGHUP)
        stage.send(signal.SIGHUP)
        await stage.until(lambda: len(stage.pids("started")) == 3)
        # Not even before it can have done anything about it.
        os.kill(stage.pids("started")[-1], signal.SIGHUP)
        await stage.until_logged("rolling restart done")

        assert stage.pids("told to go") == stage.pids()[:2]
        assert not [line for line in stage.log if line["level"] == "error"]


async def _answered_by(stage: Stage, number: int) -> int:
    """Call once more; tells how often one worker has answered."""
    return sum([(await stage.call())[0] == number for _ in range(10)])
