"""Virtual environments with nothing but the wheels of a release and what they require."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.release.interpreters import projects

__all__ = ["Environment", "build_wheels", "install"]

_ROOT = Path(__file__).parents[2]
_TOOLS = Path(sys.executable).parent
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment, and an empty folder to work in, far from the project."""

    folder: Path
    work: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, command: str, *arguments: str | Path) -> str:
        """Run a command that the environment has, as its only one; return what it printed.

        Raises:
            AssertionError: It failed; with all its output.
        """
        return _run(self.folder / "bin" / command, *arguments, cwd=self.work)


def build_wheels(folder: Path) -> list[Path]:
    """Build the wheels of both distributions, with the pinned build tool."""
    for project in projects():
        _run(_TOOLS / "uv", "build", "--wheel", "--no-build-isolation", "--out-dir", folder, project)
    return sorted(folder.glob("*.whl"))


def install(wheels: list[Path], python: Path, folder: Path) -> Environment:
    """Make a new environment, and install the wheels with the client's extras.

    What they require has the versions and hashes of ``requirements-dev.txt``, so that no new release of a dependency
    can make a test fail.
    """
    environment = Environment(folder / "environment", folder / "work")
    environment.work.mkdir()
    _run(_TOOLS / "uv", "venv", "--quiet", "--python", python, environment.folder)
    gateway, client = (next(each for each in wheels if each.name.startswith(f"{name}-")) for name in _NAMES)
    install = "pip", "install", "--quiet", "--python", environment.python
    pins = "--constraint", _ROOT / "requirements-dev.txt"
    _run(_TOOLS / "uv", *install, *pins, f"{gateway}[nats]", f"{client}[cli,testing]")
    return environment


_NAMES = "d1_gateway", "d1_gateway_client"


def _run(program: Path, *arguments: str | Path, cwd: Path | None = None) -> str:
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
