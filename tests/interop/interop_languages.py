"""What other languages need on this machine, and the programs in `tests/interop` that are written in them."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.interop.interop_contracts import run

__all__ = ["GO_CLIENT", "GO_LIBRARIES", "NODE", "locked", "node_modules", "require"]

NODE: Final = Path(__file__).parent / "node"
GO_CLIENT: Final = Path(__file__).parent / "go" / "main.go"
GO_LIBRARIES: Final = Path("/usr/share/gocode")
"""Where Debian has the sources of grpc-go, for builds without a network."""


def require(*needed: str | Path) -> None:
    """Skip the test if the machine lacks one of these commands or files; in CI (environment variable ``CI``) fail."""
    lacking = [str(each) for each in needed if shutil.which(each) is None and not Path(each).exists()]
    if lacking:
        message = f"this machine lacks {', '.join(lacking)}; CONTRIBUTING.md says what to install"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Keep other pytest workers, which use the same folder or cache, out of a block."""
    with file.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def node_modules() -> Path:
    """Return the folder with the packages of npm, installed as the lock file says."""
    require("node", "npm")
    wanted, installed = NODE / "package-lock.json", NODE / "node_modules" / ".installed"
    with locked(NODE / "package.json"):
        if not installed.exists() or installed.read_bytes() != wanted.read_bytes():
            run("npm", "ci", "--prefer-offline", folder=NODE)
            installed.write_bytes(wanted.read_bytes())
    return installed.parent
