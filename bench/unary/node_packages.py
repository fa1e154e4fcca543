"""What the baseline on Node needs."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench.unary.h2load import MissingToolError

__all__ = ["NODE", "install"]

NODE: Final = Path(__file__).parent / "node"
"""Where it is."""

_LONGEST_SECONDS: Final = 60.0


def install() -> None:
    """Install the packages that the lock file names, unless they are there.

    Raises:
        MissingToolError: There is no Node, or no npm.
        subprocess.SubprocessError: They cannot be had.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise MissingToolError("node and npm are not installed: apt-get install nodejs npm (Node 20 or newer)")
    wanted, installed = NODE / "package-lock.json", NODE / "node_modules" / ".installed"
    if installed.exists() and installed.read_bytes() == wanted.read_bytes():
        return
    subprocess.run(
        ["npm", "ci", "--prefer-offline", "--silent"],  # noqa: S607 (wherever it is)
        cwd=NODE,
        check=True,
        timeout=_LONGEST_SECONDS,
    )
    installed.write_bytes(wanted.read_bytes())
