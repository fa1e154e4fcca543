"""Lines on their way to the disk, how their members are written, and what is counted of them."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

__all__ = ["Counts", "Line", "members", "now"]


def now() -> str:
    """Return the time in UTC with microseconds (RFC 3339)."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds // 1000:06}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def members(facts: dict[str, Any]) -> bytes:
    """Return facts as members of a JSON object, without braces."""
    return orjson.dumps(facts)[1:-1]


@dataclass(slots=True, eq=False)
class Line:
    """A line that waits for the disk, or is on it."""

    members: bytes
    is_kept: bool
    """Whether it waits for a disk that does not take it."""
    on_disk: "asyncio.Future[bool]"
    """True once it is; False if the disk did not take it, or not in time."""
    sequence: int = 0
    """Its number in the trail, once it is on disk; 0 until then."""


@dataclass(slots=True)
class Counts:
    """What the trail counts for metrics."""

    lines: int = 0
    """Lines on disk, those that begin and end files included."""
    lost: int = 0
    """Lines that will never be there."""
    refused: int = 0
    """Changes that were refused because the trail could not be written."""
    files: int = 0
    """Files that were begun."""
