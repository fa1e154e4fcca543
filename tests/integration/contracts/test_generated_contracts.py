"""What is generated is what the contracts say, and contracts keep what was released: ``make check`` finds the rest."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

ROOT = Path(__file__).parents[3]
CLIENT = Path("clients/python/src/d1_gateway_client/contracts")


def check(tree: Path, command: str = "check") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(  # noqa: S603 (our own tool)
        [sys.executable, tree / "tools" / "contracts.py", command],
        env=environment,
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the contracts and of what is made from them."""
    for folder in (Path("proto"), Path("gen"), Path("tools"), CLIENT):
        copytree(ROOT / folder, tmp_path / folder, ignore=ignore_patterns("__pycache__"))
    (tmp_path / "buf.yaml").write_bytes((ROOT / "buf.yaml").read_bytes())
    return tmp_path


def _append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


CARD_DATA = "issuer/common/v1/card_data"
CHANGES: dict[str, Callable[[Path], None]] = {
    "a line in the gateway's code": lambda tree: _append(tree / "gen" / f"{CARD_DATA}_pb2.py", "import os\n"),
    "a line in the client's code": lambda tree: _append(tree / CLIENT / "issuer/card/v1/__init__.py", "import os\n"),
    "a redaction that is taken away": lambda tree: _replace(
        tree / "proto" / f"{CARD_DATA}.proto", "debug_redact = true,", ""
    ),
}


@pytest.mark.parametrize("change", [*CHANGES])
def test_a_change_that_was_not_generated_is_found(tree: Path, change: str) -> None:
    CHANGES[change](tree)
    assert check(tree).returncode != 0


def test_a_contract_that_breaks_a_released_one_is_found_though_everything_was_generated(tree: Path) -> None:
    assert check(tree).returncode == 0, "as it is, nothing is wrong"
    _replace(tree / "proto" / f"{CARD_DATA}.proto", "string pan = 1 [", "bytes pan = 1 [")
    _replace(
        tree / "proto" / f"{CARD_DATA}.proto",
        '(buf.validate.field).string.pattern = "^[0-9]{10,19}$"',
        "deprecated = false",
    )
    assert check(tree, "generate").returncode == 0
    refused = check(tree)
    assert refused.returncode != 0
    assert "changed type" in refused.stdout + refused.stderr


def test_a_change_that_gateways_of_the_release_before_would_misread_is_found(tree: Path) -> None:
    _replace(tree / "proto" / "d1gateway/peer/v1/messages.proto", "string token = 2;", "bool token = 2;")
    assert check(tree, "generate").returncode == 0
    refused = check(tree)
    assert refused.returncode != 0
    assert "changed type" in refused.stdout + refused.stderr
