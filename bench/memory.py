"""The memory of another process."""

import os
from pathlib import Path

__all__ = ["rss_mib"]

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MIB = 1024 * 1024


def rss_mib(pid: int) -> float:
    """Tell how much memory of a process is resident, in MiB, what it shares with others included.

    Raises:
        OSError: There is no such process.
    """
    # Linux, proc(5): the second field of statm.
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / _MIB
