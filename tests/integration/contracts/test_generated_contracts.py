"""What is generated is what the contracts say, and contracts keep what was released: ``make check`` finds the rest."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

ROOT = Path(__file__).parents[3]
CLIENT = Path("clients/python/src/d1_gateway_client/contracts")


def check(tree: Path) -> str:
    """Run the check, and return what it reports; nothing if all is well."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(  # noqa: S603 (our own tool)
        [sys.executable, tree / "tools" / "contracts.py", "check"],
        env=environment,
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    reported = done.stdout + done.stderr
    assert bool(done.returncode) is bool(reported)
    return reported


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the contracts and of what is made from them."""
    for folder in (Path("proto"), Path("gen"), Path("d1gateway"), Path("tools"), CLIENT):
        copytree(ROOT / folder, tmp_path / folder, ignore=ignore_patterns("__pycache__"))
    (tmp_path / "buf.yaml").write_bytes((ROOT / "buf.yaml").read_bytes())
    return tmp_path


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_as_they_are_nothing_is_wrong(tree: Path) -> None:
    assert check(tree) == ""


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("gen/issuer/common/v1/card_data_pb2.py", "", "import os\n", "gen/issuer/"),
        ("d1gateway/peer/v1/messages_pb2.py", "", "import os\n", "d1gateway/"),
        (f"{CLIENT}/issuer/card/v1/__init__.py", "", "import os\n", f"{CLIENT}/"),
        ("proto/issuer/consumer/v1/personal_information.proto", "8 [debug_redact = true];", "8;", "gen/issuer/"),
    ],
    ids=["the callers' stubs", "the peers' stubs", "the client's code", "a redaction that is taken away"],
)
def test_a_change_that_was_not_generated_is_found(tree: Path, file: str, old: str, new: str, changed: str) -> None:
    _replace(tree / file, old, new)

    assert f"{changed} is not what `make generate` writes: " in check(tree)


# A contract is compared with the released one before what is generated is looked at.
def test_a_contract_that_breaks_a_released_one_is_found(tree: Path) -> None:
    contract = tree / "proto" / "issuer/common/v1/card_data.proto"
    _replace(contract, "string pan = 1 [", "bytes pan = 1 [")
    _replace(contract, '(buf.validate.field).string.pattern = "^[0-9]{10,19}$"', "deprecated = false")

    assert "changed type" in check(tree)


def test_a_change_that_gateways_of_the_release_before_would_misread_is_found(tree: Path) -> None:
    _replace(tree / "proto" / "d1gateway/peer/v1/messages.proto", "string token = 2;", "bool token = 2;")

    assert "changed type" in check(tree)


def test_a_contract_without_a_class_of_its_own_in_java_is_found(tree: Path) -> None:
    _replace(tree / "proto/issuer/common/v1/error.proto", 'option java_outer_classname = "CommonErrorProto";\n', "")

    assert "error.proto: needs `option java_outer_classname =" in check(tree)
