"""The version of this gateway: stated in `pyproject.toml` alone, read from the installed distribution."""

from importlib import metadata
from pathlib import Path
from typing import Final

__all__ = ["COMMIT", "HEADER", "VERSION", "described"]

HEADER: Final = "d1-gateway-version"
"""The trailing metadata of every rpc that has the version."""


def _version() -> str:
    try:
        return metadata.version("d1-gateway")
    except metadata.PackageNotFoundError:
        # A label is no reason not to start.
        return "unknown"


def _commit() -> str:
    try:
        return Path(__file__).with_name("commit.txt").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


VERSION: Final = _version()
"""For example ``0.1.0``; ``unknown`` if the gateway runs from a folder where it is not installed."""
COMMIT: Final = _commit()
"""The commit that the wheel was built from (`tools/build_commit.py`); empty in a development environment."""


def described() -> str:
    """Return version and commit for people: ``0.1.0 (commit 1234567890ab)``."""
    return f"{VERSION} (commit {COMMIT})" if COMMIT else VERSION
