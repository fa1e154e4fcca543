"""Hatchling's build hook: notes in wheel and sdist which commit they were built from, as ``gateway/commit.txt``.

An sdist has the note already. In a folder that is neither a checkout nor an sdist, the variable ``SOURCE_COMMIT`` may
name the commit, as in the build of an image. Without any of these there is no note.
"""

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["CommitNote"]

_NOTE = "gateway/commit.txt"


class CommitNote(BuildHookInterface[Any]):
    """Adds the note to what is built, without writing it into the checkout."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the note to a temporary folder, and have it included. See `BuildHookInterface`."""
        root = Path(self.root)
        self._folder = TemporaryDirectory()
        if version == "editable" or (root / _NOTE).exists():
            return
        commit = os.environ.get("SOURCE_COMMIT") or _described(root)
        if commit:
            note = Path(self._folder.name, "commit.txt")
            note.write_text(f"{commit}\n", encoding="ascii")
            build_data["force_include"][str(note)] = _NOTE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Delete the temporary folder. See `BuildHookInterface`."""
        del version, build_data, artifact_path
        self._folder.cleanup()


def _described(root: Path) -> str:
    """Return the commit of a checkout, with ``-dirty`` if it has changes; empty in any other folder."""
    if not (root / ".git").exists():
        return ""
    command = "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"
    try:
        done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
