"""Supervisor and workers: how they start, die and end."""

import asyncio
import os
import signal
import time
from pathlib import Path

from tests.integration.workers.stage import is_alive, staged


async def test_a_supervisor_is_ready_when_all_its_workers_are(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path, 3) as stage:
        assert stage.where["workers"] == 3
        assert sorted(life.number for life in stage.lives if life.what == "ready") == [1, 2, 3]
        assert {life.port for life in stage.lives} == {int(stage.where["grpc"].rpartition(":")[2])}
        assert await stage.get("/healthz") == (200, "ok\n")
        assert await stage.ready() == (200, {"serving": "ok", "worker_1": "ok", "worker_2": "ok", "worker_3": "ok"})


async def test_a_worker_that_dies_is_replaced_and_the_others_never_notice(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        first, second = stage.pids()
        killed = time.monotonic()
        os.kill(first, signal.SIGKILL)
        await stage.until_logged("worker died")
        assert await stage.ready() == (503, {"serving": "ok", "worker_1": "serving: nobody", "worker_2": "ok"})
        # What it had of the edge is not kept for its successor: nobody waits, and nobody is lost.
        assert {await stage.call() for _ in range(20)} == {(2, second)}
        await stage.until(lambda: len(stage.pids()) == 3)
        replaced = stage.lives[-1]

        died = stage.events("worker died")[0]
        assert (died["level"], died["number"], died["pid"], died["signal"]) == ("error", 1, first, "SIGKILL")
        assert replaced.number == 1
        assert replaced.at - killed > 0.5
        await stage.until(lambda: not stage.pids("told to go"))
        assert (await stage.ready())[0] == 200
        assert await stage.metric("worker_deaths_total") == 1


async def test_a_worker_that_cannot_start_is_tried_again_less_and_less_often(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        stage.order("fail", "7")
        began = time.monotonic()
        os.kill(stage.pids()[0], signal.SIGKILL)
        await stage.until_logged("worker did not become ready", times=3)
        took = time.monotonic() - began
        stage.take_back("fail")
        await stage.until(lambda: len(stage.pids()) == 3)

        assert took > 0.5 + 1 + 2
        assert {line["exit_status"] for line in stage.events("worker did not become ready")} == {7}
        assert (await stage.ready())[0] == 200


async def test_a_worker_that_dies_as_soon_as_it_is_ready_is_tried_again(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        stage.order("fleeting")
        os.kill(stage.pids()[0], signal.SIGKILL)
        await stage.until(lambda: len(stage.pids("started")) == 2 + 2)
        stage.take_back("fleeting")
        await stage.until(lambda: len(stage.pids()) == 3)

        assert (await stage.ready())[0] == 200


async def test_settings_that_no_worker_can_use_end_the_supervisor_with_one_message(
    settings: str, tmp_path: Path
) -> None:
    (tmp_path / "fail").write_text("2")
    async with staged(settings, tmp_path, 3, is_good=False) as stage:
        assert await stage.ended() == 2
        assert [line for line in stage.stderr.splitlines() if "ordered to fail" in line] == [
            "d1-gateway: ordered to fail"
        ]
        assert not stage.events("ready")


async def test_workers_that_say_nothing_are_killed_and_the_supervisor_ends(settings: str, tmp_path: Path) -> None:
    (tmp_path / "mute").touch()
    async with staged(settings, tmp_path, is_good=False) as stage:
        assert await stage.ended() == 1
        assert stage.events("worker did not become ready")[0]["signal"] == "SIGKILL"
        assert not is_alive(stage.pids("started")[0])


async def test_sigterm_drains_every_worker_before_the_supervisor_ends(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path, 3) as stage:
        stage.send(signal.SIGTERM)
        assert await stage.ended() == 0
        assert sorted(stage.pids("ended")) == sorted(stage.pids("ready"))
        assert not stage.events("worker died")


async def test_sigterm_while_workers_start_ends_them_too(settings: str, tmp_path: Path) -> None:
    (tmp_path / "mute").touch()
    async with staged(settings, tmp_path, is_good=False) as stage:
        await stage.until(lambda: stage.pids("started"))
        stage.send(signal.SIGTERM)
        assert await stage.ended() == 0
        assert not is_alive(stage.pids("started")[0])


async def test_a_worker_that_does_not_go_is_killed_in_the_end(settings: str, tmp_path: Path) -> None:
    (tmp_path / "stubborn").touch()
    async with staged(settings, tmp_path) as stage:
        stage.send(signal.SIGTERM)
        assert await stage.ended() == 0
        assert len(stage.events("worker took too long to end")) == 2
        assert not any(map(is_alive, stage.pids()))


async def test_workers_whose_supervisor_was_killed_drain_and_end_by_themselves(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        stage.send(signal.SIGKILL)
        await stage.ended()
        await stage.until(lambda: len(stage.pids("ended")) == 2)
        await stage.until(lambda: not any(map(is_alive, stage.pids())))


async def test_a_second_supervisor_at_the_same_ports_says_so_and_ends(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        for listener in ("grpc", "edge"):
            port = stage.where[listener].rpartition(":")[2]
            folder = tmp_path / listener
            folder.mkdir()
            taken = settings.replace(f"[{listener}]\nport = 0", f"[{listener}]\nport = {port}")
            async with staged(taken, folder, is_good=False) as second:
                assert await second.ended() == 1
                assert second.stderr.lower().startswith(
                    f"d1-gateway: {listener}: cannot listen on 127.0.0.1:{port}: address already in use"
                )
        assert (await stage.ready())[0] == 200


async def test_the_same_ports_are_free_again_at_once(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        await asyncio.gather(*(stage.call() for _ in range(20)))
        ports = {listener: stage.where[listener].rpartition(":")[2] for listener in ("grpc", "edge")}
    folder = tmp_path / "again"
    folder.mkdir()
    for listener, port in ports.items():
        settings = settings.replace(f"[{listener}]\nport = 0", f"[{listener}]\nport = {port}")
    async with staged(settings, folder) as again:
        assert {listener: again.where[listener].rpartition(":")[2] for listener in ports} == ports


async def test_connections_are_shared_by_all_workers(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        # One in 2^39 that all of them go to the same one.
        assert {number for number, _ in [await stage.call() for _ in range(40)]} == {1, 2}


async def test_what_is_wrong_in_a_worker_is_told_at_the_supervisors_admin_port(settings: str, tmp_path: Path) -> None:
    async with staged(settings, tmp_path) as stage:
        stage.order("broken")
        assert await stage.ready() == (
            503,
            {"serving": "ok", "worker_1": "storage: broken", "worker_2": "storage: broken"},
        )
