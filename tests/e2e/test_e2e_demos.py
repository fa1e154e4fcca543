"""`d1-gateway demo`, alone and as a cluster: complete, and ended early by a signal."""

import asyncio
import math
import os
import re
import signal
import time
from asyncio.subprocess import Process
from pathlib import Path
from typing import TypeAlias

import pytest
from rich.console import Console

from sandbox.demo.steps import Steps
from tests.e2e.command import d1_gateway, ended, running, takes

_SECONDS = 120.0
_POLL_SECONDS = 0.01
_DEMO, _CLUSTER = ("demo",), ("demo", "--cluster")

Moment: TypeAlias = int | str
"""When a program handles signals and has started a number of processes, or when it prints a text."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("command", "promised_seconds"), [(_DEMO, 30), (_CLUSTER, math.inf)], ids=["alone", "cluster"])
async def test_the_demonstration_passes_and_ends_by_itself_in_the_time_that_its_help_promises(
    command: tuple[str, ...], promised_seconds: float
) -> None:
    began = time.monotonic()
    demonstration = await d1_gateway(*command, seconds=180)
    took = time.monotonic() - began

    assert demonstration.status == 0, demonstration.stdout + demonstration.stderr
    assert re.fullmatch(r"demo: \d+ steps passed, 0 failed", demonstration.stdout.splitlines()[-1])
    assert "Traceback" not in demonstration.stderr
    # Where processes queue for the cores, everything takes as much longer.
    queue = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert took < promised_seconds * queue


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("command", "moment", "number"),
    [
        (_DEMO, 0, signal.SIGTERM),
        (_DEMO, 1, signal.SIGHUP),
        (_DEMO, "passed", signal.SIGINT),
        (_CLUSTER, 0, signal.SIGINT),
        (_CLUSTER, 1, signal.SIGHUP),
        (_CLUSTER, 3, signal.SIGTERM),
        (_CLUSTER, 5, signal.SIGINT),
        (_CLUSTER, "gateway B at", signal.SIGTERM),
        (_CLUSTER, "passed", signal.SIGTERM),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
async def test_a_signal_at_any_moment_ends_it_and_leaves_no_process_and_no_file(
    command: tuple[str, ...], moment: Moment, number: signal.Signals, tmp_path: Path
) -> None:
    async with asyncio.timeout(_SECONDS), running(*command, environment={"TMPDIR": str(tmp_path)}) as process:
        await _until(moment, process)
        process.send_signal(number)
        interrupted = await ended(process)

    assert interrupted.status == 128 + number
    assert interrupted.stderr == ""
    # That no process is left is what every module here is held to.
    assert _names(tmp_path) == []


@pytest.mark.timeout(150)
async def test_sigterm_ends_a_demonstration_in_the_background_which_ignores_ctrl_c(tmp_path: Path) -> None:
    background = running(*_CLUSTER, ignored=signal.SIGINT, environment={"TMPDIR": str(tmp_path)})
    async with asyncio.timeout(_SECONDS), background as process:
        await _until("gateway B at", process)
        process.send_signal(signal.SIGINT)
        await _until("passed", process)
        process.send_signal(signal.SIGTERM)
        assert (await ended(process)).status == 128 + signal.SIGTERM

    assert _names(tmp_path) == []


async def test_an_error_in_the_cleanup_of_a_step_does_not_hide_that_the_demonstration_is_to_end() -> None:
    async def action() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("the cleanup failed")

    running_step = asyncio.create_task(Steps(Console(quiet=True)).run("a step", action))
    await asyncio.sleep(0)
    running_step.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running_step


async def _until(moment: Moment, process: Process) -> None:
    if isinstance(moment, str):
        assert process.stdout is not None
        said = b""
        while moment.encode() not in said:
            line = await process.stdout.readline()
            assert line, f"it ended before it printed {moment!r}: {said.decode()}{await ended(process)}"
            said += line
        return
    # Another process has no event for this.
    while not takes(process, "SigCgt", signal.SIGTERM) or _children(process.pid) < moment:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)


def _children(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def _names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]
