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
from aiohttp import ClientSession
from playwright.async_api import Browser, expect
from rich.console import Console

from sandbox import Sandbox
from sandbox.demo.guide import GuidedSteps, NobodyWatchesError
from sandbox.demo.steps import Steps
from tests.e2e.browsing import violations
from tests.e2e.command import GATEWAY, d1_gateway, ended, invoked, running, takes

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
        ((*_DEMO, "--console"), "as soon as", signal.SIGINT),
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


@pytest.mark.timeout(150)
async def test_the_console_shows_the_demonstration_while_a_page_is_open_and_tells_which_step_failed(
    browser: Browser,
) -> None:
    async with asyncio.timeout(_SECONDS), running(*_DEMO, "--console", "--pace", "0.05") as process:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().removeprefix("console at ").strip()
        await _until("as soon as", process)
        async with ClientSession(url, raise_for_status=True) as control:
            await control.post("/sandbox/faults", json={"operation": "registerCard", "status": 403})
        async with await browser.new_page() as page:
            await page.goto(url)
            told = page.locator("#demo")
            await expect(told).to_contain_text(re.compile(r"Step \d+ of \d+ · A card's life cycle"))
            await expect(told.get_by_role("link", name="Cards")).to_have_attribute("href", "#cards-title")
            await expect(page.locator("section.seen h2")).to_contain_text("Cards")
        await _until("as soon as", process)

        async with await browser.new_page(reduced_motion="reduce") as page:
            complaints: list[str] = []
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(url)
            told = page.locator("#demo")
            await expect(told).to_contain_text("The demonstration is over.", timeout=60_000)
            await expect(told).to_contain_text(re.compile(r"\d\d steps passed, 1 failed"))
            await expect(told.get_by_role("listitem")).to_contain_text("(JWE): FAILED_PRECONDITION")
            await expect(page.locator("#gateway")).to_have_text("Gateway connected")
            assert await violations(page) == []
            assert complaints == []
            process.send_signal(signal.SIGINT)
            demonstration = await ended(process)

    assert (demonstration.status, demonstration.stderr) == (1, "")
    assert "The console stays open" in demonstration.stdout


async def test_a_demonstration_that_nobody_watches_ends_and_says_what_to_do(shared_sandbox: Sandbox) -> None:
    async def action() -> str:
        raise AssertionError("nobody sees it")

    steps = GuidedSteps(Console(quiet=True), shared_sandbox.console, 1, pace_seconds=0, open_seconds=0.01)
    with pytest.raises(NobodyWatchesError, match="start again, and open its address"):
        await steps.run("a step", action)


async def test_the_console_shows_one_gateway_and_refuses_a_cluster() -> None:
    refused = await invoked(GATEWAY, *_CLUSTER, "--console")
    assert refused.only_line(2) == "--console shows one gateway: leave out --cluster"


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
