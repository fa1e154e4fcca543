"""SIGHUP: every worker is replaced, one after the other, and nobody is sent away."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.integration.workers.stage import Life, Stage, is_alive, staged

_CALLERS = 4


@asynccontextmanager
async def _calling(stage: Stage) -> AsyncIterator[list[tuple[int, int]]]:
    """Connect to the edge all the time; whoever gets no answer fails the test."""
    answers: list[tuple[int, int]] = []
    ending = asyncio.Event()

    async def call() -> None:
        while not ending.is_set():
            answers.append(await stage.call())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CALLERS):
            tasks.create_task(call())
        yield answers
        ending.set()


def _lives_of(lives: list[Life], number: int) -> list[tuple[str, int]]:
    return [(life.what, life.pid) for life in lives if life.number == number]


async def test_each_new_worker_is_ready_before_the_old_one_is_told_to_go(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        stage.send(signal.SIGHUP)
        await stage.until_logged("rolling restart done")
        lives = stage.lives

        for number in (1, 2):
            told = _lives_of(lives, number)
            old, new = told[0][1], told[2][1]
            assert told[2:] == [("started", new), ("ready", new), ("told to go", old), ("ended", old)]
        first_is_gone = next(life.at for life in lives if life.what == "ended")
        second_begins = [life.at for life in lives if life.number == 2 and life.what == "started"][1]
        assert first_is_gone <= second_begins
        assert not stage.events("worker died")
        assert (await stage.ready())[0] == 200


async def test_no_connection_to_the_edge_is_lost_in_three_rolling_restarts(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        async with _calling(stage) as answers:
            for times in (1, 2, 3):
                stage.send(signal.SIGHUP)
                await stage.until_logged("rolling restart done", times)
        answered = await stage.metric("edge_requests_total")

        assert {pid for _, pid in answers} >= set(stage.pids()[-2:])
        assert len(stage.pids()) == 2 * 4
        assert answered == len(answers), "what workers had counted that are gone is not forgotten"


async def test_counters_never_go_backwards(settings: str, tmp_path: Path) -> None:
    scraped: list[float] = []
    async with staged(settings, tmp_path) as stage:

        async def scrape() -> None:
            while True:
                scraped.append(await stage.metric("edge_requests_total"))

        scraping = asyncio.create_task(scrape())
        async with _calling(stage):
            stage.send(signal.SIGHUP)
            await stage.until_logged("rolling restart done")
        os.kill(stage.pids()[-1], signal.SIGKILL)
        await stage.until(lambda: len(stage.pids()) == 5)
        scraping.cancel()
        await asyncio.gather(scraping, return_exceptions=True)

    assert len(scraped) > 10
    assert scraped[-1] > 0
    assert scraped == sorted(scraped)


async def test_however_often_it_is_asked_for_during_one_there_is_one_more(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        stage.send(signal.SIGHUP)
        await stage.until_logged("rolling restart")
        for _ in range(5):
            stage.send(signal.SIGHUP)
            await asyncio.sleep(0.05)
        await stage.until_logged("rolling restart done", times=2)
        await asyncio.sleep(0.5)

        assert len(stage.events("rolling restart")) == 2
        assert len(stage.pids("started")) == 2 * 3


async def test_a_new_worker_that_does_not_become_ready_leaves_the_old_ones_where_they_are(
    settings: str, tmp_path: Path
) -> None:
    async with staged(settings, tmp_path) as stage:
        stage.order("mute")
        stage.send(signal.SIGHUP)
        await stage.until(lambda: [line for line in stage.log if "given up" in line["event"]])

        assert stage.events("worker did not become ready")[0]["signal"] == "SIGKILL"
        assert len(stage.pids("started")) == 3
        assert stage.pids("told to go") in ([], stage.pids("started")[2:])
        assert (await stage.ready())[0] == 200
        stage.take_back("mute")
        stage.send(signal.SIGHUP)
        await stage.until_logged("rolling restart done")


async def test_settings_that_cannot_be_used_restart_nobody(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        file = tmp_path / "settings.toml"
        for spoilt in (settings + "\n[nowhere]\n", settings.replace("[admin]\nport = 0", "[admin]\nport = 1")):
            before = len([line for line in stage.log if "refused" in line["event"]])
            file.write_text(spoilt)
            stage.send(signal.SIGHUP)
            await stage.until(lambda: len([line for line in stage.log if "refused" in line["event"]]) > before)  # noqa: B023 (waited for)

        assert len(stage.pids("started")) == 2
        assert "nowhere" in str(stage.log[-2]["mistakes"])
        assert (await stage.ready())[0] == 200


async def test_a_dead_worker_gets_its_successor_from_a_rolling_restart_too(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        os.kill(stage.pids()[1], signal.SIGKILL)
        await stage.until_logged("worker died")
        stage.send(signal.SIGHUP)
        await stage.until_logged("rolling restart done")
        await asyncio.sleep(1)

        alive = {life.number: life.pid for life in stage.lives if life.what == "ready"}
        assert {await stage.call() for _ in range(40)} == set(alive.items())
        assert (await stage.ready())[0] == 200


async def test_sigterm_during_a_rolling_restart_ends_old_and_new(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        stage.send(signal.SIGHUP)
        await stage.until(lambda: len(stage.pids("started")) == 3)
        stage.send(signal.SIGTERM)

        assert await stage.ended() == 0
        assert len(stage.pids("started")) == 3
        assert not any(map(is_alive, stage.pids("started")))
