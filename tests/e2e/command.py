"""The command line as a shell runs it."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ended", "d1_gateway"]

_COMMAND = Path(sys.executable).with_name("d1-gateway")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it wrote."""

    status: int
    stdout: str
    stderr: str

    @property
    def mistakes(self) -> list[str]:
        """The lines on standard error."""
        return self.stderr.splitlines()


async def d1_gateway(*arguments: str | Path, seconds: float = 30.0, **variables: str) -> Ended:
    """Run ``d1-gateway`` with arguments and further environment variables until it ends by itself.

    Raises:
        TimeoutError: It did not; it is killed.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("D1_GATEWAY_")}
    process = await asyncio.create_subprocess_exec(
        _COMMAND,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment | variables,
    )
    try:
        async with asyncio.timeout(seconds):
            stdout, stderr = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return Ended(await process.wait(), stdout.decode(), stderr.decode())
