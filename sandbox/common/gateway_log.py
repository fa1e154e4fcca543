"""The log of a gateway that runs for long: bounded, with whole lines."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["MOST_LOG_BYTES", "begin_log", "earlier_log", "keep_log"]

MOST_LOG_BYTES: Final = 16 * 1024 * 1024
"""The size of the log, and of the earlier one."""
_START_BYTES: Final = 1024 * 1024
"""More than a gateway writes until it is ready."""
_CHUNK_BYTES: Final = 64 * 1024


def earlier_log(log: Path) -> Path:
    """Return where the lines are that the log had before it grew too long; what was there before is lost."""
    return log.with_name(f"{log.name}.1")


def begin_log(log: Path) -> int:
    """Make room in a log for what a start writes; return where that begins."""
    log.touch()
    if log.stat().st_size > MOST_LOG_BYTES - _START_BYTES:
        log.replace(earlier_log(log))
        log.touch()
    return log.stat().st_size


async def keep_log(lines: asyncio.StreamReader, log: Path, most_bytes: int = MOST_LOG_BYTES) -> None:
    """Append lines to a log until they end. A log that cannot be written loses lines, and its writer never waits.

    Args:
        lines: The lines.
        log: The log.
        most_bytes: Its size; what would make it longer begins it anew, and `earlier_log` has the rest.
    """
    torn = b""
    while chunk := await lines.read(_CHUNK_BYTES):
        whole, end, rest = (torn + chunk).rpartition(b"\n")
        torn = rest
        _append(log, whole + end, most_bytes)
    _append(log, torn, most_bytes)


def _append(log: Path, lines: bytes, most_bytes: int) -> None:
    with suppress(OSError):
        if log.stat().st_size + len(lines) > most_bytes:
            log.replace(earlier_log(log))
    with suppress(OSError), log.open("ab") as file:
        file.write(lines)
