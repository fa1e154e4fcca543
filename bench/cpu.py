"""The processor time of another process."""

import time

__all__ = ["cpu_seconds"]

_PROF = 2
"""The clock of Linux that counts user and system time: the lowest bits of a process's clock id, see clock_getres(2)."""


def cpu_seconds(pid: int) -> float:
    """Tell how long a process has been on a processor, all its threads together, to the nanosecond.

    Raises:
        OSError: There is no such process.
    """
    return time.clock_gettime((~pid << 3) | _PROF)
