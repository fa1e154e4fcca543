"""The processor time and the memory of another process."""

import os
import time
from pathlib import Path

__all__ = ["cpu_seconds", "rss_mib"]

_PROF = 2
"""The clock of Linux that counts user and system time: the lowest bits of a process's clock id, see clock_getres(2)."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MIB = 1024 * 1024


def cpu_seconds(pid: int) -> float:
    """Tell how long a process has been on a processor, all its threads together, to the nanosecond.

    Raises:
        OSError: There is no such process.
    """
    return time.clock_gettime((~pid << 3) | _PROF)


def rss_mib(pid: int) -> float:
    """Tell how much memory of a process is resident, in MiB, what it shares with others included.

    Raises:
        OSError: There is no such process.
    """
    # Linux, proc(5): the second field of statm.
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / _MIB
