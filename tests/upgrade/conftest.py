from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.upgrade.previous import RELEASES, unpacked


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """The packages of each release of the past."""
    return unpacked(request.param, tmp_path_factory.mktemp("release"))
