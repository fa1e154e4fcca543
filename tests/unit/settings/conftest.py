import os
from pathlib import Path

import pytest

from tests.unit.settings.settings_files import Files


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.upper().startswith("D1_GATEWAY_"):
            monkeypatch.delenv(variable)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.make(tmp_path)
