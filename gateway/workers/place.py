"""What a worker is given by its supervisor, and what it says to it."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

__all__ = ["READY", "Place"]

READY: Final = b"ready\n"
"""What a worker writes to its standard output once it serves."""


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's place among those that share the ports.

    It is handed over as the only argument of the worker's process. Standard input ends when the supervisor does.
    """

    number: int
    """Its number: from 1. Whoever replaces it has the same."""
    config_file: Path | None
    """The settings; None where all are in the environment."""
    grpc_port: int
    """What is shared, whatever the settings say."""
    edge_fds: tuple[int, ...]
    """File descriptors of bound sockets, this worker's share of the edge."""
    admin_socket: Path
    """Where it serves metrics and probes to the supervisor."""

    @property
    def last_metrics(self) -> Path:
        """Where it leaves its metrics when it ends."""
        return self.admin_socket.with_suffix(".prom")

    def to_argument(self) -> str:
        """Write it as `from_argument` reads it."""
        return json.dumps(
            {
                "number": self.number,
                "config_file": None if self.config_file is None else str(self.config_file),
                "grpc_port": self.grpc_port,
                "edge_fds": self.edge_fds,
                "admin_socket": str(self.admin_socket),
            }
        )

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """Read what `to_argument` wrote."""
        given = json.loads(argument)
        file = given["config_file"]
        return cls(
            given["number"],
            None if file is None else Path(file),
            given["grpc_port"],
            tuple(given["edge_fds"]),
            Path(given["admin_socket"]),
        )

    def edge_sockets(self) -> list[socket.socket]:
        """Take the sockets of the edge over: they are closed by whoever asked."""
        return [socket.socket(fileno=number) for number in self.edge_fds]

    def tell_ready(self) -> None:
        """Tell the supervisor that this worker serves."""
        # It may have gone; `when_alone` tells of that.
        with suppress(BrokenPipeError):
            os.write(sys.stdout.fileno(), READY)

    def when_alone(self, act: Callable[[], None]) -> None:
        """Do something when the supervisor is gone, however it went.

        Args:
            act: What to do; called in the running loop.
        """
        loop, number = asyncio.get_running_loop(), sys.stdin.fileno()

        def look() -> None:
            if not os.read(number, 1):
                loop.remove_reader(number)
                act()

        loop.add_reader(number, look)
