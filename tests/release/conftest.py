from collections.abc import Mapping
from pathlib import Path

import pytest

from d1_gateway_client.testing import d1_gateway
from tests.release.environments import build_wheels

__all__ = ["d1_gateway", "wheels"]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The wheel of every distribution, by its name."""
    return build_wheels(tmp_path_factory.mktemp("wheels"))
