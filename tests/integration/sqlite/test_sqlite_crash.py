"""A process that is killed loses nothing that it acknowledged."""

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.integration.sqlite.sqlite_events import event, numbers, opened


async def killed_appender(path: Path, first: int, acknowledgements: int) -> list[int]:
    """Let a process append, and kill it after some acknowledgements. Returns the acknowledged events."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, Path(__file__).with_name("sqlite_appender.py"), path, str(first), stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        printed = [await child.stdout.readline() for _ in range(acknowledgements)]
    finally:
        child.kill()
        rest = await child.stdout.read()
        await child.wait()
    # The pipe may break off within the last number.
    return [int(line) for line in (b"".join(printed) + rest).splitlines(keepends=True) if line.endswith(b"\n")]


async def test_everything_a_killed_process_acknowledged_is_there(path: Path) -> None:
    acknowledged: list[int] = []
    async with asyncio.timeout(50):
        for kill, acknowledgements in enumerate((1, 600, 37)):
            acknowledged += await killed_appender(path, kill * 1_000_000, acknowledgements)

            async with opened(path) as log:
                stored = (await log.read(0, 1_000_000)).events
                assert set(acknowledged) <= set(await numbers(log))
                assert len({each.event.operation_id for each in stored}) == len(stored)
                assert not await log.append(event(acknowledged[-1]))
    assert len(acknowledged) >= 638
