"""The contracts as callers get them: what ``make contracts`` writes."""

import subprocess
import sys
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

from tests.interop.interop_processes import environment

__all__ = ["ROOT", "distribute", "run"]

ROOT = Path(__file__).parents[2]


def distribute(tree: Path) -> Path:
    """Copy what the contracts are made from into an empty folder, make them there, and return the folder `dist`."""
    for folder in ("proto", "tools"):
        copytree(ROOT / folder, tree / folder, ignore=ignore_patterns("__pycache__"))
    for file in ("LICENSE", "buf.yaml", "pyproject.toml"):
        copy(ROOT / file, tree)
    run(sys.executable, "tools/contracts.py", "distribute", folder=tree)
    return tree / "dist"


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    """Run a command in a folder; return what it printed. A failure is raised with all its output."""
    done = subprocess.run(  # noqa: S603 (what the tests name)
        command,
        cwd=folder,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
