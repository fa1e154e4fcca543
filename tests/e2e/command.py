"""Runs the command lines as a shell does."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from sandbox.common.pki import Pki
from sandbox.gateway import GatewayProcess

__all__ = ["Caller", "Ended", "calling", "d1_gateway", "d1_gateway_client", "ended", "running"]


@dataclass(frozen=True, slots=True)
class Ended:
    """A command's exit status and output."""

    status: int
    stdout: str
    stderr: str

    @property
    def mistakes(self) -> list[str]:
        """The lines on standard error."""
        return self.stderr.splitlines()


class Caller(TypedDict, total=False):
    """The environment of a command that calls a gateway."""

    D1_GATEWAY_CLIENT_ADDRESS: str
    D1_GATEWAY_CLIENT_CA_FILE: str
    D1_GATEWAY_CLIENT_CERTIFICATE_FILE: str
    D1_GATEWAY_CLIENT_KEY_FILE: str


def calling(gateway: GatewayProcess, pki: Pki) -> Caller:
    """Return the environment of a command with all grants at a gateway."""
    return {
        "D1_GATEWAY_CLIENT_ADDRESS": gateway.grpc,
        "D1_GATEWAY_CLIENT_CA_FILE": str(pki.server_ca),
        "D1_GATEWAY_CLIENT_CERTIFICATE_FILE": str(pki.caller.certificate),
        "D1_GATEWAY_CLIENT_KEY_FILE": str(pki.caller.key),
    }


async def d1_gateway(
    *arguments: str | Path, seconds: float = 30.0, stdin: bytes | None = None, **variables: str
) -> Ended:
    """Run ``d1-gateway`` until it ends by itself.

    Args:
        arguments: The command's arguments.
        seconds: The time limit.
        stdin: The standard input; None for an empty one.
        variables: Further environment variables.

    Raises:
        TimeoutError: The time limit is exceeded; the command is killed.
    """
    async with running(*arguments, stdin=stdin is not None, **variables) as process, asyncio.timeout(seconds):
        return await ended(process, stdin)


async def d1_gateway_client(
    *arguments: str | Path, seconds: float = 30.0, stdin: bytes | None = None, **variables: str
) -> Ended:
    """Run ``d1-gateway-client``, otherwise as `d1_gateway`."""
    process_of = running(*arguments, stdin=stdin is not None, program="d1-gateway-client", **variables)
    async with process_of as process, asyncio.timeout(seconds):
        return await ended(process, stdin)


@asynccontextmanager
async def running(
    *arguments: str | Path, stdin: bool = False, program: str = "d1-gateway", **variables: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command for the duration of the context, then kill it if it still runs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("D1_GATEWAY_")}
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name(program),
        *arguments,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment | variables,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ended(process: asyncio.subprocess.Process, stdin: bytes | None = None) -> Ended:
    """Wait for a command's end and return the result, without output that was read before."""
    stdout, stderr = await process.communicate(stdin)
    return Ended(await process.wait(), stdout.decode(), stderr.decode())
