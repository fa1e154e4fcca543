"""``make release``: what it builds, that others get the same bytes, and that the documented installation works."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

from tests.release.environments import new_environment, run, tool

# Two builds take seconds, and a minute where others use the processor too.
pytestmark = pytest.mark.timeout(300)

_ROOT = Path(__file__).parents[2]
_COMMIT = "0123456789ab"
_TIME = "1790000000"
_ENDS = ("-py3-none-any.whl", ".tar.gz")


def _copy(folder: Path) -> Path:
    """Copy the checkout, without what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607
        cwd=_ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (_ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_ROOT / name, folder / name)
    return folder


def _build(folder: Path, umask: int, **variables: str) -> Path:
    # Not the coverage of a process that runs elsewhere, nor this checkout's own time and commit.
    known = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(folder)}
    environment = {**os.environ, **known, "SOURCE_DATE_EPOCH": _TIME, "SOURCE_COMMIT": _COMMIT, **variables}
    built = subprocess.run(
        [sys.executable, "tools/release.py"],
        cwd=folder,
        env=environment,
        umask=umask,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return folder / "dist"


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two releases of the same sources, built in different folders by different people."""
    first, second = _copy(tmp_path_factory.mktemp("a")), _copy(tmp_path_factory.mktemp("another-folder"))
    # What a build or an editor leaves behind in a checkout.
    (second / "notes.txt").write_text("mine")
    with ThreadPoolExecutor() as pool:
        one = pool.submit(_build, first, 0o022, TZ="UTC", PYTHONHASHSEED="1")
        other = pool.submit(_build, second, 0o077, TZ="Asia/Tokyo", PYTHONHASHSEED="2", LC_ALL="C")
        return one.result(), other.result()


def test_a_release_built_elsewhere_has_the_same_bytes(releases: tuple[Path, Path]) -> None:
    one, other = ({path.name: path.read_bytes() for path in dist.iterdir() if path.is_file()} for dist in releases)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


def test_a_release_is_complete_and_its_sums_cover_all_of_it(releases: tuple[Path, Path]) -> None:
    dist = releases[0]
    lines = (line.split("  ") for line in (dist / "SHA256SUMS").read_text().splitlines())
    sums = {name: digest for digest, name in lines}
    files = {path.name for path in dist.iterdir() if path.is_file()}
    assert sums.keys() == files - {"SHA256SUMS"}
    assert {name: hashlib.sha256((dist / name).read_bytes()).hexdigest() for name in sums} == sums
    kinds = {re.sub(r"\d+\.\d+\.\d+", "VERSION", name) for name in sums}
    assert kinds == {
        *(f"d1_gateway{part}-VERSION{end}" for part in ("", "_client", "_contracts") for end in _ENDS),
        "d1-gateway-protos-VERSION.tar.gz",
        "d1-gateway-VERSION.cdx.json",
        "requirements.txt",
        "requirements-client.txt",
    }


def test_a_release_is_installed_from_its_files_alone_as_documented(releases: tuple[Path, Path], tmp_path: Path) -> None:
    dist = releases[0]
    environment = new_environment(Path(sys.executable), tmp_path)
    pip = tool("uv"), "pip", "install", "--quiet", "--system-certs", "--python", environment.python
    run(*pip, "--require-hashes", "-r", dist / "requirements.txt", "-r", dist / "requirements-client.txt")
    run(*pip, "--no-index", "--no-deps", *dist.glob("*.whl"))

    run(tool("uv"), "pip", "check", "--quiet", "--python", environment.python)
    version = metadata.version("d1-gateway")
    assert environment.run("d1-gateway", "--version").startswith(f"d1-gateway {version} (commit {_COMMIT}), Python ")
    assert environment.run("d1-gateway-client", "--version").startswith("d1-gateway-client ")


def test_the_gateways_wheel_names_the_commit_and_the_bill_of_materials_every_pin(
    releases: tuple[Path, Path],
) -> None:
    dist = releases[0]
    (wheel,) = dist.glob("d1_gateway-*.whl")
    assert zipfile.ZipFile(wheel).read("gateway/commit.txt") == f"{_COMMIT}\n".encode()
    (file,) = dist.glob("*.cdx.json")
    materials = json.loads(file.read_bytes())
    pins = re.findall(r"^([\w.-]+)==(\S+)", (_ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert sorted((each["name"], each["version"]) for each in materials["components"]) == sorted(pins)
    root = materials["metadata"]["component"]
    assert (root["name"], root["version"]) == ("d1-gateway", wheel.name.split("-")[1])
