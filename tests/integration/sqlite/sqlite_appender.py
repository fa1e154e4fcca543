"""Appends to the log at a path without end, and prints the number of each acknowledged event."""

import asyncio
import itertools
import os
import sys
from pathlib import Path

from tests.integration.sqlite.sqlite_events import event, opened


async def main(path: Path, first: int) -> None:
    numbers = itertools.count(first)

    async def append() -> None:
        for number in numbers:
            assert await log.append(event(number, payload=bytes(500)))
            os.write(sys.stdout.fileno(), b"%d\n" % number)

    async with opened(path) as log:
        await asyncio.gather(*(append() for _ in range(8)))


asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
