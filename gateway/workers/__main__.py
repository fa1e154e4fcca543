"""``python -m gateway.workers COUNT [FILE]``: the supervisor, which ``d1-gateway serve --workers`` becomes."""

import asyncio
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gateway.logging import setup
from gateway.workers.ending import exit_status
from gateway.workers.launching import READY_SECONDS, WORKER, launching
from gateway.workers.pulse import PROBE_SECONDS
from gateway.workers.shared_settings import load_shared
from gateway.workers.supervisor import Supervisor

__all__ = ["main", "supervised"]


async def supervised(
    workers: int,
    file: Path | None,
    *,
    command: Sequence[str] = WORKER,
    ready_seconds: float = READY_SECONDS,
    probe_seconds: float = PROBE_SECONDS,
) -> int:
    """Run a supervisor until SIGTERM or SIGINT.

    Args:
        workers: How many there are to be.
        file: The settings; None where everything comes from the environment.
        command: Starts a worker once its place is added.
        ready_seconds: How long one may take to become ready.
        probe_seconds: How often those that serve are asked for a sign of life.

    Returns:
        The exit status.

    Raises:
        SettingsError: The settings cannot be used.
        OSError: A port cannot be had.
    """
    load = partial(load_shared, file, workers)
    settings = load()
    setup.configure(settings.log.level)
    async with launching(settings, file, command, ready_seconds) as launcher:
        return await Supervisor(workers, settings, load, probe_seconds).run(launcher)


def main() -> int:
    """Run the command; returns the exit status."""
    workers, file = int(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None
    return exit_status(lambda: asyncio.run(supervised(workers, file)))


if __name__ == "__main__":
    sys.exit(main())
