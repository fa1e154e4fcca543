"""The conditions of a measurement: the machine, the versions, the commit."""

import os
import platform
import re
import shutil
import sqlite3
import ssl
import subprocess
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

__all__ = ["conditions"]

_LIBRARIES: Final = ("grpcio", "aiohttp", "uvloop", "protobuf", "protovalidate", "orjson", "nats-py", "fastapi")
_TOOLS: Final = ("nats-server", "node", "h2load")
_VERSION = re.compile(r"\d+(\.\d+)+")


def conditions() -> dict[str, str]:
    """Return the present conditions by name. Programs that are not installed are omitted."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _commit(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "disk": _disk(Path(tempfile.gettempdir())),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "OpenSSL": ssl.OPENSSL_VERSION.split()[1],
        **{name: version(name) for name in _LIBRARIES},
        **{name: said for name in _TOOLS if (said := _tool(name))},
    }


def _processor() -> str:
    # Linux, proc(5): a paragraph for each processor.
    named = re.search(r"^model name\s*: *(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return named[1] if named else platform.machine()


def _disk(folder: Path) -> str:
    """Return the file system of a folder: one in memory never syncs."""
    # Linux, proc(5): a line for each mount, with source, mount point and type.
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    _, place, kind = max(
        (mount[:3] for mount in mounts if folder.resolve().is_relative_to(mount[1])), key=lambda mount: len(mount[1])
    )
    return f"{kind} at {place}"


def _commit() -> str:
    commit = _said("git", "rev-parse", "--short", "HEAD")
    return f"{commit} and changes" if _said("git", "status", "--porcelain", "--untracked-files=no") else commit


def _tool(name: str) -> str:
    return found[0] if shutil.which(name) and (found := _VERSION.search(_said(name, "--version"))) else ""


def _said(*command: str) -> str:
    said = subprocess.run(  # noqa: S603 (its own commands)
        command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False
    )
    return said.stdout.strip()
