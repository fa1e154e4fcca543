"""The processor time of another process."""

import os
from pathlib import Path

__all__ = ["cpu_seconds"]

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12


def cpu_seconds(pid: int) -> float:
    """Tell how long a process has been on a processor, all its threads together, as far as 10 ms ticks tell.

    Raises:
        OSError: There is no such process.
    """
    # Linux, proc(5): what stands before the last parenthesis may itself hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS_A_SECOND
