"""The interpreters of this machine that a release may be installed for."""

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["claimed_versions", "executable", "projects"]

_ROOT = Path(__file__).parents[2]
_CLASSIFIER = "Programming Language :: Python :: "


@cache
def projects() -> Mapping[Path, Mapping[str, Any]]:
    """Return the table ``project`` of both distributions by their folders."""
    folders = _ROOT, _ROOT / "clients" / "python"
    return {folder: tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in folders}


def claimed_versions(project: Mapping[str, Any]) -> list[str]:
    """Return the versions of Python that a distribution's classifiers name."""
    return [each.removeprefix(_CLASSIFIER) for each in project["classifiers"] if each.startswith(_CLASSIFIER)]


@cache
def executable(version: str) -> Path | None:
    """Return a working interpreter of this version: from the PATH, or else of pyenv; None without one."""
    return next((found for found in _candidates(version) if _version(found) == version), None)


def _candidates(version: str) -> Iterator[Path]:
    on_path = shutil.which(f"python{version}")
    if on_path is not None:
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))


def _version(python: Path) -> str:
    # pyenv's shims are on the PATH for versions that it would refuse to run.
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    ran = subprocess.run([python, "-c", asked], check=False, capture_output=True, text=True)  # noqa: S603
    return ran.stdout.strip()
