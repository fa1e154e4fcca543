"""The processor time and memory of another process."""

import os
import time
from pathlib import Path

__all__ = ["cpu_seconds", "rss_mib"]

_PROF = 2
"""Linux's clock of user and system time: the lowest bits of a process's clock id, see clock_getres(2)."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MIB = 1024 * 1024


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process with all its threads, to the nanosecond.

    Raises:
        OSError: No such process.
    """
    return time.clock_gettime((~pid << 3) | _PROF)


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process, in MiB, shared pages included.

    Raises:
        OSError: No such process.
    """
    # Linux, proc(5): the second field of statm.
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / _MIB
