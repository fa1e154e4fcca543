"""Fills a separate file system, frees some of it, and reports the log's behaviour as JSON. Needs its own mounts."""

import asyncio
import json
import subprocess
import tempfile
from pathlib import Path

from gateway.errors import GatewayError
from tests.integration.sqlite.sqlite_events import event, numbers, opened


async def main(folder: Path) -> None:
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    acknowledged: list[int] = []
    failures: list[GatewayError] = []
    async with opened(folder / "events.db") as log:
        for number in range(10_000):
            try:
                await log.append(event(number, payload=bytes(1_000)))
            except GatewayError as error:
                failures.append(error)
                if len(failures) == 3:
                    break
            else:
                acknowledged.append(number)
        on_full_disk = len(acknowledged)
        ballast.unlink()
        for number in range(10_000, 10_050):
            await log.append(event(number, payload=bytes(1_000)))
            acknowledged.append(number)
    async with opened(folder / "events.db") as log:
        report = {
            "failures": [failure.reason_name for failure in failures],
            "message": failures[0].message,
            "acknowledged_on_full_disk": on_full_disk,
            "acknowledged": acknowledged,
            "stored": await numbers(log),
        }
    print(json.dumps(report))  # noqa: T201  the way to the test


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as mounted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mounted], check=True)  # noqa: S603, S607
        try:
            asyncio.run(main(Path(mounted)))
        finally:
            subprocess.run(["umount", mounted], check=True)  # noqa: S603, S607
