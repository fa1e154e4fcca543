"""Builds everything that a release consists of, into ``dist``: ``python tools/release.py``.

Wheels and sdists of the three distributions, the contracts for other languages, the pins that the wheels are installed
with, the software bill of materials, and ``SHA256SUMS`` of all of it. The bytes follow from the commit alone: two
people who build it, in other folders and at other times, get the same sums.
"""

import hashlib
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from shutil import copy, rmtree
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
DIST: Final = ROOT / "dist"
DISTRIBUTIONS: Final = (ROOT / "gen", ROOT, ROOT / "clients" / "python")
"""Their folders: contracts, gateway, client."""


def _run(*command: str | Path, **variables: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout.strip()


def _commit_time() -> str:
    """Return the time that archives note for their files, in seconds since 1970: that of the commit, unless given."""
    return os.environ.get("SOURCE_DATE_EPOCH") or _run("git", "log", "-1", "--format=%ct")


def _build(commit_time: str) -> None:
    for folder in DISTRIBUTIONS:
        # The wheel is built from the sdist, so that one that lacks something fails here.
        build = "uv", "build", "--quiet", "--no-build-isolation", "--no-create-gitignore", "--out-dir", DIST, folder
        _run(*build, SOURCE_DATE_EPOCH=commit_time)


def _materials(commit_time: str) -> dict[str, Any]:
    """Return what the gateway is made of, in the CycloneDX format: every package that is installed with it."""
    # It warns that pins name no dependencies of their own.
    quietly = {"SOURCE_DATE_EPOCH": commit_time, "PYTHONWARNINGS": "ignore::UserWarning"}
    report = "cyclonedx-py", "requirements", "--output-reproducible", "--of", "JSON", "--pyproject", "pyproject.toml"
    materials: dict[str, Any] = json.loads(_run(*report, "requirements.txt", **quietly))
    # The project's table has no version: hatchling reads it from the line that pins the contracts.
    materials["metadata"]["component"]["version"] = version("d1-gateway")
    return materials


def _sums() -> str:
    files = sorted(path for path in DIST.iterdir() if path.is_file())
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def release() -> None:
    """Replace ``dist`` by a new build."""
    rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    commit_time = _commit_time()
    _build(commit_time)
    _run(sys.executable, "tools/contracts.py", "distribute", PYTHONPATH=str(ROOT))
    copy(ROOT / "requirements.txt", DIST / "requirements.txt")
    copy(ROOT / "clients" / "python" / "requirements.txt", DIST / "requirements-client.txt")
    materials = json.dumps(_materials(commit_time), indent=2, sort_keys=True)
    (DIST / f"d1-gateway-{version('d1-gateway')}.cdx.json").write_text(f"{materials}\n")
    (DIST / "SHA256SUMS").write_text(_sums())


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(__doc__)
    release()
