"""The interpreters of this machine, and environments with nothing but the wheels of a release and what they require."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "Environment",
    "build_wheels",
    "claimed_versions",
    "executable",
    "install",
    "new_environment",
    "projects",
    "run",
    "tool",
]

_ROOT = Path(__file__).parents[2]
_TOOLS = Path(sys.executable).parent
_SECONDS = 120.0
_CLASSIFIER = "Programming Language :: Python :: "


@cache
def projects() -> Mapping[Path, Mapping[str, Any]]:
    """Return the table ``project`` of every distribution by their folders."""
    folders = _ROOT, _ROOT / "gen", _ROOT / "clients" / "python"
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


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment, and an empty folder to work in, far from the project."""

    folder: Path
    work: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, command: str, *arguments: str | Path) -> str:
        """Run a command that the environment has; return what it printed. A failure is raised with all its output."""
        return run(self.folder / "bin" / command, *arguments, cwd=self.work)


def build_wheels(folder: Path) -> Mapping[str, Path]:
    """Build the wheel of every distribution, with the pinned build tool; return them by the distributions' names."""
    for project in projects():
        run(tool("uv"), "build", "--wheel", "--no-build-isolation", "--out-dir", folder, project)
    return {wheel.name.partition("-")[0].replace("_", "-"): wheel for wheel in folder.glob("*.whl")}


def new_environment(python: Path, folder: Path) -> Environment:
    """Make a new environment, with nothing in it."""
    environment = Environment(folder / "environment", folder / "work")
    environment.work.mkdir()
    run(tool("uv"), "venv", "--quiet", "--python", python, environment.folder)
    return environment


def install(environment: Environment, *requirements: str | Path) -> None:
    """Install wheels, or packages by name.

    What they require has the versions and hashes of ``requirements-dev.txt``, so that no new release of a dependency
    can make a test fail.
    """
    # The certificates that pip would trust: uv brings its own.
    install = "pip", "install", "--quiet", "--system-certs", "--python", environment.python
    pins = "--constraint", _ROOT / "requirements-dev.txt"
    run(tool("uv"), *install, *pins, *requirements)


def tool(name: str) -> Path:
    """Return a command of this environment."""
    return _TOOLS / name


def run(program: Path, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Run a command; return what it printed. A failure is raised with all its output."""
    # Nothing of this environment, so that neither its packages nor its commands are found.
    kept = {name: os.environ[name] for name in os.environ if not name.startswith(("D1_", "PYTHON", "VIRTUAL_ENV"))}
    path = f"{program.parent}:/usr/bin:/bin"
    ran = subprocess.run(  # noqa: S603
        [program, *arguments],
        cwd=cwd,
        env=kept | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, f"{program.name} {arguments[:1]}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout
