"""Releases of the past, unpacked: what `tools/release_snapshot.py` kept of them."""

import tarfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["RELEASES", "unpacked"]

_FOLDER = Path(__file__).parent / "releases"
_PACKAGES = (".", "gen", "clients/python/src")

RELEASES = tuple(sorted(each.name.removesuffix(".tar.xz") for each in _FOLDER.glob("*.tar.xz")))
"""The versions."""


def unpacked(version: str, folder: Path) -> Sequence[Path]:
    """Unpack a release into an empty folder; return the folders of its packages, for ``PYTHONPATH``."""
    with tarfile.open(_FOLDER / f"{version}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return [folder / each for each in _PACKAGES]
