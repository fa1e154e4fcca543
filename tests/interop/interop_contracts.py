"""The contracts as callers get them: what ``make contracts`` writes."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

from tests.interop.interop_processes import environment

__all__ = ["ROOT", "distribute", "run"]

ROOT = Path(__file__).parents[2]


def distribute(tree: Path) -> Path:
    """Copy what the contracts are made from into an empty folder, make them there, and return the folder `dist`."""
    for folder in ("proto", "tools"):
        copytree(ROOT / folder, tree / folder, ignore=ignore_patterns("__pycache__"))
    for file in ("LICENSE", "buf.gen.yaml", "buf.yaml", "pyproject.toml"):
        copy(ROOT / file, tree)
    run(sys.executable, "tools/contracts.py", "distribute", folder=tree)
    return tree / "dist"


def run(
    *command: str | Path,
    folder: Path,
    tools: Path | None = None,
    variables: Mapping[str, str] | None = None,
    seconds: float = 50,
) -> str:
    """Run a command in a folder, and return what it printed. A failure is raised with all its output.

    Args:
        command: The command and its arguments.
        folder: Where it is run.
        tools: A folder that comes first on PATH.
        variables: Further environment variables.
        seconds: How long it may take.
    """
    inherited = environment(**(variables or {}))
    if tools is not None:
        inherited = {**inherited, "PATH": f"{tools}{os.pathsep}{inherited['PATH']}"}
    done = subprocess.run(  # noqa: S603 (what the tests name)
        command,
        cwd=folder,
        env=inherited,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
