import asyncio
import re
import signal

import pytest

from tests.e2e.command import d1_gateway, ended, running

_PROCESSES = 5
"""Two gateways, three NATS servers."""


@pytest.mark.timeout(200)
async def test_the_demonstration_of_a_cluster_passes_and_ends_by_itself() -> None:
    demonstration = await d1_gateway("demo", "--cluster", seconds=180)

    assert demonstration.status == 0, demonstration.stdout + demonstration.stderr
    assert re.fullmatch(r"demo: \d+ steps passed, 0 failed", demonstration.stdout.splitlines()[-1])
    assert "Traceback" not in demonstration.stderr


@pytest.mark.timeout(90)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_demonstration_of_a_cluster_leaves_no_process_behind_when_it_is_ended(number: signal.Signals) -> None:
    async with running("demo", "--cluster") as process, asyncio.timeout(60):
        assert process.stdout is not None
        started = 0
        while started < _PROCESSES:
            started += b", process " in await process.stdout.readline()
        process.send_signal(number)

        # That none is left is what every test here is held to.
        assert (await ended(process)).status != 0
