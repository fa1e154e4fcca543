"""The packages of the Node baseline."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from bench.unary.h2load import MissingToolError

__all__ = ["NODE", "install"]

NODE: Final = Path(__file__).parent / "node"
"""Its folder."""

_LONGEST_SECONDS: Final = 60.0


def install() -> None:
    """Install the packages of the lock file, unless installed.

    Raises:
        MissingToolError: Node or npm is not installed.
        subprocess.SubprocessError: The installation failed.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise MissingToolError("node and npm are not installed: apt-get install nodejs npm (Node 20 or newer)")
    wanted, installed = NODE / "package-lock.json", NODE / "node_modules" / ".installed"
    if installed.exists() and installed.read_bytes() == wanted.read_bytes():
        return
    subprocess.run(
        ["npm", "ci", "--prefer-offline", "--silent"],  # noqa: S607 (found on PATH)
        cwd=NODE,
        check=True,
        timeout=_LONGEST_SECONDS,
    )
    installed.write_bytes(wanted.read_bytes())
