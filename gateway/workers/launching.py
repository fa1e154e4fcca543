"""Starts the processes of workers, and holds what they share."""

import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from gateway.settings import Settings
from gateway.workers.place import Place
from gateway.workers.ports import Port
from gateway.workers.process import Worker

__all__ = ["READY_SECONDS", "WORKER", "Launcher", "launching"]

WORKER: Final = (sys.executable, "-P", "-m", "gateway.workers.worker")
"""The command that is a worker, once its place is added."""

READY_SECONDS: Final = 30.0
"""How long a worker may take to become ready."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """Whatever it takes to start a worker."""

    command: Sequence[str]
    config_file: Path | None
    folder: Path
    """For the sockets between supervisor and workers: nobody else can reach them."""
    grpc: Port
    edge: Port
    ready_seconds: float
    """How long a worker may take to become ready."""
    _serial: Iterator[int] = field(default_factory=count)

    async def launch(self, number: int, share: Sequence[socket.socket]) -> Worker:
        """Start a worker.

        Args:
            number: Its number.
            share: Its share of the edge.

        Raises:
            OSError: The system gives no process.
        """
        place = Place(
            number=number,
            config_file=self.config_file,
            grpc_port=self.grpc.number,
            edge_fds=tuple(each.fileno() for each in share),
            admin_socket=self.folder / f"{next(self._serial)}.sock",
        )
        return await Worker.start(self.command, place)


@asynccontextmanager
async def launching(
    settings: Settings, config_file: Path | None, command: Sequence[str], ready_seconds: float
) -> AsyncIterator[Launcher]:
    """Hold the ports for as long as the context lasts.

    Args:
        settings: Say which ports.
        config_file: Where the workers read theirs.
        command: Starts a worker once its place is added.
        ready_seconds: How long a worker may take to become ready.

    Raises:
        OSError: A port cannot be had.
    """
    with (
        TemporaryDirectory(prefix="d1-gateway-") as folder,
        closing(await Port.reserve("grpc", settings.grpc.host, settings.grpc.port)) as grpc,
        closing(await Port.reserve("edge", settings.edge.host, settings.edge.port)) as edge,
    ):
        yield Launcher(command, config_file, Path(folder), grpc, edge, ready_seconds)
