"""A gateway process for a sandbox."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import orjson

from sandbox.common.gateway_log import begin_log, keep_log
from sandbox.common.pki import Identity, Pki
from sandbox.common.ports import free_ports
from sandbox.common.server import HOST
from sandbox.gateway_config import GatewayConfig, SharedStorage, write_policy

__all__ = ["GatewayConfig", "GatewayProcess", "SharedStorage", "channel", "credentials", "write_policy"]

_LOG = "d1-gateway.log"
_MODULE = ("-m", "gateway")
_MODULE_THAT_ENDS_WITH_US = (
    "-c",
    """\
import ctypes, runpy, signal
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
runpy.run_module("gateway", run_name="__main__", alter_sys=True)
""",
)
_READY_SECONDS = 40.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class _Ready:
    grpc: str
    edge: str
    admin: str


class GatewayProcess:
    """A gateway in its own process, started as in production: ``d1-gateway serve``."""

    def __init__(
        self,
        running: "_Running",
        config: GatewayConfig,
        folder: Path,
        ready: _Ready,
        *,
        kept: bool,
        packages: Sequence[Path],
    ) -> None:
        """Wrap a gateway that is ready; `start` makes one."""
        self.packages = packages
        """Folders of another release's packages, from which the next start takes the gateway; empty for this one."""
        self._running = running
        self._config = config
        self._folder = folder
        self._ready = ready
        self._kept = kept

    @classmethod
    async def start(
        cls, config: GatewayConfig, folder: Path, *, kept: bool = False, packages: Sequence[Path] = ()
    ) -> Self:
        """Start a gateway and wait until it is ready.

        Args:
            config: The settings.
            folder: The folder of settings and log.
            kept: Whether another sandbox will use the folder again. The log is then continued, up to a size, and the
                gateway is killed with this process: it would hold the other's ports and event log.
            packages: See `packages`.

        Raises:
            RuntimeError: The gateway did not become ready; the text is its output.
        """
        # Not any port: while the gateway is down, another process could get it for an outgoing connection.
        grpc_port, edge_port, admin_port = free_ports(3)
        config = replace(
            config,
            grpc_port=config.grpc_port or grpc_port,
            edge_port=config.edge_port or edge_port,
            admin_port=config.admin_port or admin_port,
        )
        running, ready = await _start(config, folder, kept=kept, packages=packages)
        return cls(running, config, folder, ready, kept=kept, packages=packages)

    async def restart(self) -> None:
        """Kill it (SIGKILL), as in a power cut, and start it again at the same addresses."""
        await self.kill()
        self._running, self._ready = await _start(self._config, self._folder, kept=self._kept, packages=self.packages)

    @property
    def grpc(self) -> str:
        """The gRPC address for internal callers: ``host:port``."""
        return self._ready.grpc

    @property
    def edge(self) -> str:
        """The URL of D1's callbacks: ``https://host:port``."""
        return f"https://{self._ready.edge}"

    @property
    def admin(self) -> str:
        """The URL of metrics and probes: ``http://host:port``."""
        return f"http://{self._ready.admin}"

    @property
    def log(self) -> Path:
        """The log, one JSON object per line: since its last start, or the latest of all starts if it is kept."""
        return self._folder / _LOG

    async def stop(self) -> int:
        """Stop it gracefully (SIGTERM); return its exit status."""
        return await self._running.end(signal.SIGTERM)

    async def wait(self) -> int:
        """Wait until it has ended; return its exit status."""
        return await self._running.wait()

    async def kill(self) -> None:
        """Kill it (SIGKILL), as in a power cut."""
        await self._running.end(signal.SIGKILL)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running.process.pid

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


@asynccontextmanager
async def channel(address: str, pki: Pki, options: Sequence[tuple[str, int]] = ()) -> AsyncIterator[grpc.aio.Channel]:
    """Connect to a gateway's gRPC listener over TLS, with gRPC's channel arguments."""
    async with grpc.aio.secure_channel(address, credentials(pki.server_ca, pki.caller), options) as connected:
        yield connected


def credentials(server_ca: Path, caller: Identity) -> grpc.ChannelCredentials:
    """Return an internal service's credentials: the trusted CA and its own certificate."""
    return grpc.ssl_channel_credentials(
        server_ca.read_bytes(),
        private_key=caller.key.read_bytes(),
        certificate_chain=caller.certificate.read_bytes(),
    )


@dataclass(frozen=True, slots=True)
class _Running:
    process: asyncio.subprocess.Process
    logging: asyncio.Task[None] | None
    """Writes its log, unless it does so itself."""

    async def end(self, number: signal.Signals) -> int:
        if self.process.returncode is None:
            self.process.send_signal(number)
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
        return await self.wait()

    async def wait(self) -> int:
        status = await self.process.wait()
        if self.logging is not None:
            await self.logging
        return status


async def _start(
    config: GatewayConfig, folder: Path, *, kept: bool, packages: Sequence[Path]
) -> tuple[_Running, _Ready]:
    settings, log = folder / "d1-gateway.toml", folder / _LOG
    settings.write_text(config.to_toml())
    running, begin = await _run(settings, log, kept=kept, packages=packages)
    ready = None
    try:
        async with asyncio.timeout(_READY_SECONDS):
            # Another process's file sends no events.
            while (ready := _ready(log, begin)) is None and running.process.returncode is None:  # noqa: ASYNC110  a process has no event for it
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        await running.end(signal.SIGKILL)
    except BaseException:
        await running.end(signal.SIGKILL)
        raise
    if ready is None:
        status = await running.wait()
        raise RuntimeError(f"The gateway exited with {status}: {_read(log, begin).decode().strip()}")
    return running, ready


async def _run(settings: Path, log: Path, *, kept: bool, packages: Sequence[Path]) -> tuple[_Running, int]:
    """Run a gateway; return also where its part of the log begins."""
    command = (sys.executable, *(_MODULE_THAT_ENDS_WITH_US if kept else _MODULE), "serve", "--config", str(settings))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("D1_GATEWAY_")}
    # Python looks into the present folder first, then into these packages, then into what is installed.
    folder = settings.parent if packages else None
    if packages:
        environment["PYTHONPATH"] = os.pathsep.join(map(str, packages))
    run = partial(asyncio.create_subprocess_exec, *command, env=environment, cwd=folder)
    if not kept:
        with log.open("wb") as stderr:
            return _Running(await run(stderr=stderr), None), 0
    begin = begin_log(log)
    process = await run(stderr=asyncio.subprocess.PIPE)
    lines = process.stderr
    return _Running(process, None if lines is None else asyncio.create_task(keep_log(lines, log))), begin


def _read(log: Path, begin: int) -> bytes:
    with log.open("rb") as file:
        file.seek(begin)
        return file.read()


def _ready(log: Path, begin: int) -> _Ready | None:
    for line in _read(log, begin).splitlines(keepends=True):
        if b'"event":"gateway_started"' in line and line.endswith(b"\n"):
            logged = orjson.loads(line)
            # It may listen on every address; this is where a sandbox's certificates and clients know it.
            return _Ready(*(f"{HOST}:{logged[each].rpartition(':')[2]}" for each in ("grpc", "edge", "admin")))
    return None
