"""The client of ``node/``, with its packages installed."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.interop.interop_processes import environment

__all__ = ["NODE", "node_client"]

NODE = Path(__file__).parent / "node"
_MISSING = "there is no Node on this machine: node and npm have to be on PATH"


@pytest.fixture(scope="session")
def node_client() -> Path:
    """The client's file. Without Node the test is skipped; in CI (environment variable ``CI``) it fails."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(_MISSING)
    _install()
    return NODE / "client.mjs"


def _install() -> None:
    wanted, installed = NODE / "package-lock.json", NODE / "node_modules" / ".installed"
    # Other pytest workers use the same folder.
    with (NODE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed.exists() and installed.read_bytes() == wanted.read_bytes():
            return
        done = subprocess.run(
            ["npm", "ci", "--prefer-offline"],  # noqa: S607 (wherever it is)
            cwd=NODE,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert done.returncode == 0, done.stderr
        installed.write_bytes(wanted.read_bytes())
