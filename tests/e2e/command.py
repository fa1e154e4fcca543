"""Runs the command lines in processes, as a shell does, or in this process, which saves a second of imports."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer
from typer.testing import CliRunner

import d1_gateway_client.cli.app
import gateway.cli.app
from sandbox.common.pki import Pki
from sandbox.gateway import GatewayProcess

__all__ = [
    "CLIENT",
    "GATEWAY",
    "Ended",
    "calling",
    "d1_gateway",
    "ended",
    "invoked",
    "running",
    "started",
    "takes",
]

GATEWAY: Final = gateway.cli.app.app
CLIENT: Final = d1_gateway_client.cli.app.app

_NOTHING: Final[Mapping[str, str]] = {}


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

    def only_line(self, status: int) -> str:
        """Make sure that it failed with one line on standard error, and nothing else; return the line."""
        assert (self.status, self.stdout, len(self.mistakes)) == (status, "", 1), self
        program, _, line = self.mistakes[0].partition(": ")
        assert program in {"d1-gateway", "d1-gateway-client"}
        return line


def calling(gateway: GatewayProcess, pki: Pki) -> dict[str, str]:
    """Return the environment of a command with all grants at a gateway."""
    return {
        "D1_GATEWAY_CLIENT_ADDRESS": gateway.grpc,
        "D1_GATEWAY_CLIENT_CA_FILE": str(pki.server_ca),
        "D1_GATEWAY_CLIENT_CERTIFICATE_FILE": str(pki.caller.certificate),
        "D1_GATEWAY_CLIENT_KEY_FILE": str(pki.caller.key),
    }


async def invoked(
    app: typer.Typer,
    *arguments: str | Path,
    stdin: bytes | None = None,
    environment: Mapping[str, str] = _NOTHING,
) -> Ended:
    """Run a command of `GATEWAY` or `CLIENT` in this process, one at a time, until it ends by itself."""
    whole = {**{name: None for name in os.environ if name.startswith("D1_GATEWAY_")}, **environment}
    words = [str(each) for each in arguments]
    # In a thread: what it calls may be served by this loop.
    program = "d1-gateway" if app is GATEWAY else "d1-gateway-client"
    result = await asyncio.to_thread(
        lambda: CliRunner().invoke(app, words, stdin, env=whole, catch_exceptions=False, prog_name=program)
    )
    return Ended(result.exit_code, result.stdout, result.stderr)


async def d1_gateway(
    *arguments: str | Path,
    seconds: float = 30.0,
    stdin: bytes = b"",
    program: str = "d1-gateway",
    environment: Mapping[str, str] = _NOTHING,
) -> Ended:
    """Run a command in its own process until it ends by itself, or is killed after a time limit."""
    command = running(*arguments, program=program, stdin=PIPE, environment=environment)
    async with command as process, asyncio.timeout(seconds):
        return await ended(process, stdin)


def running(
    *arguments: str | Path,
    program: str = "d1-gateway",
    ignored: signal.Signals | None = None,
    stdin: int = DEVNULL,
    stderr: int = PIPE,
    session: bool = False,
    environment: Mapping[str, str] = _NOTHING,
    folder: Path | None = None,
) -> AbstractAsyncContextManager[Process]:
    """Run a command for the duration of the context, then kill it if it still runs.

    It may be started to ignore a signal, as by `nohup`, or in the background of a shell.
    """
    background = () if ignored is None else (f"--ignore-signal={ignored.name}",)
    # A shell starts background jobs with SIGINT ignored, many CI runners do likewise, and programs that are started so
    # should leave it ignored. A test of Ctrl-C must not depend on how the tests were started.
    foreground = ("env", "--default-signal", *background)
    command = (*foreground, Path(sys.executable).with_name(program), *arguments)
    return started(*command, stdin=stdin, stderr=stderr, session=session, environment=environment, folder=folder)


@asynccontextmanager
async def started(
    *command: str | Path,
    stdin: int = DEVNULL,
    stderr: int = PIPE,
    session: bool = False,
    environment: Mapping[str, str] = _NOTHING,
    folder: Path | None = None,
) -> AsyncIterator[Process]:
    """Run a process for the duration of the context, then kill it if it still runs.

    In a session of its own it has no terminal. Of a gateway's and its client's variables, it gets the given ones only.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("D1_GATEWAY_")}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=stdin,
        stdout=PIPE,
        stderr=stderr,
        cwd=folder,
        env={**inherited, **environment},
        start_new_session=session,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ended(process: Process, stdin: bytes | None = None) -> Ended:
    """Wait for a command's end and return the result, without output that was read before."""
    stdout, stderr = await process.communicate(stdin)
    return Ended(await process.wait(), stdout.decode(), (stderr or b"").decode())


def takes(process: Process, signals: str, number: signal.Signals) -> bool:
    """Return whether a running process holds a signal back (`SigBlk`), or handles it (`SigCgt`)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return bool(int(status.partition(f"{signals}:")[2].split()[0], 16) >> (number - 1) & 1)
