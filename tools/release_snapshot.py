"""Keep a release's gateway and clients for the tests of upgrade and rollback, in tests/upgrade/releases.

``python tools/release_snapshot.py VERSION REVISION`` archives the packages of a revision; run it once for each release,
with its tag. The tests run that gateway and those clients beside the present ones, with the present dependencies.
"""

import lzma
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_RELEASES = _ROOT / "tests" / "upgrade" / "releases"
_PACKAGES = ("gateway", "adapters", "d1gateway", "gen/issuer", "clients/python/src/d1_gateway_client")


def main() -> None:
    """Write the archive of the revision that the command line names."""
    version, revision = sys.argv[1:]
    # The same bytes each time: git archives with the time of the commit.
    command = ("git", "archive", "--format=tar", revision, *_PACKAGES)
    archive = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True).stdout
    written = _RELEASES / f"{version}.tar.xz"
    written.write_bytes(lzma.compress(archive, preset=9 | lzma.PRESET_EXTREME))
    sys.stdout.write(f"{written.relative_to(_ROOT)}: {written.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    main()
