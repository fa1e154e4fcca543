"""The contracts' own distribution: what a caller with grpcio installs, alone in an environment."""

import re
import zipfile
from collections.abc import Mapping
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from d1_gateway_client.testing import SandboxGateway
from sandbox.d1.model.contract import CardState
from tests.release.environments import claimed_versions, executable, install, new_environment, projects
from tests.release.user_types import type_errors

_CONTRACTS = Path(__file__).parents[2] / "gen"
_CLAIMED = claimed_versions(projects()[_CONTRACTS])
_MISTAKE = """

def mistaken(channel: grpc.Channel) -> int:
    return suspend(channel, 1)
"""


def _program() -> str:
    (code,) = re.findall(r"^```python\n(.*?)^```$", (_CONTRACTS / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return str(code)


def _requirements(wheel: Path) -> dict[str, Requirement]:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    required = map(Requirement, message_from_bytes(archive.read(metadata)).get_all("Requires-Dist") or [])
    return {each.name: each for each in required if each.marker is None or each.marker.evaluate({"extra": ""})}


def _version(wheel: Path) -> str:
    return wheel.name.split("-")[1]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", _CLAIMED)
def test_with_the_contracts_alone_a_caller_suspends_a_card_and_is_typed(
    version: str, wheels: Mapping[str, Path], tmp_path: Path, d1_gateway: SandboxGateway
) -> None:
    python = executable(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed here")
    environment = new_environment(python, tmp_path)
    install(environment, wheels["d1-gateway-contracts"])

    (environment.work / "suspend.py").write_text(_program())
    card_id = f"card-{version[-2:]}"
    d1_gateway.add_card(card_id, pan=f"49701012345678{version[-2:]}")
    options = d1_gateway.options
    files = options.ca_file, options.key_file, options.certificate_file
    environment.run("python", "-W", "error", "suspend.py", options.address, *map(str, files), card_id)
    assert d1_gateway._sandbox.store.card(card_id).state is CardState.SUSPENDED

    # Types do not depend on the interpreter.
    if version == _CLAIMED[0]:
        install(environment, "types-grpcio", "types-protobuf")
        errors = type_errors(environment, right=_program(), mistaken=_program() + _MISTAKE)
        assert errors == [("mistaken", "arg-type"), ("mistaken", "return-value")]


def test_the_contracts_require_grpcio_and_protobuf_and_nothing_else(wheels: Mapping[str, Path]) -> None:
    assert _requirements(wheels["d1-gateway-contracts"]).keys() == {"grpcio", "protobuf"}


def test_the_contracts_require_what_their_stubs_were_generated_for(wheels: Mapping[str, Path]) -> None:
    stubs = [each.read_text() for each in _CONTRACTS.rglob("*.py")]
    grpcio = {found[1] for found in (re.search(r"GRPC_GENERATED_VERSION = '(.+)'", each) for each in stubs) if found}
    protobuf = {found[1] for found in (re.search(r"# Protobuf Python Version: (.+)", each) for each in stubs) if found}
    assert (len(grpcio), len(protobuf)) == (1, 1)
    required = _requirements(wheels["d1-gateway-contracts"])
    # protobuf refuses the stubs of a later version, and those of two major versions before.
    major = int(protobuf.copy().pop().partition(".")[0])
    assert required["grpcio"].specifier == Requirement(f"grpcio>={grpcio.pop()}").specifier
    assert required["protobuf"].specifier == Requirement(f"protobuf>={protobuf.pop()},<{major + 2}").specifier


def test_the_gateway_requires_the_contracts_of_its_own_version(wheels: Mapping[str, Path]) -> None:
    version = _version(wheels["d1-gateway"])
    assert _version(wheels["d1-gateway-contracts"]) == version
    assert str(_requirements(wheels["d1-gateway"])["d1-gateway-contracts"].specifier) == f"=={version}"


def test_the_clients_test_kit_takes_this_gateway(wheels: Mapping[str, Path]) -> None:
    (client,) = (table for table in projects().values() if table["name"] == "d1-gateway-client")
    kit = {each.name: each for each in map(Requirement, client["optional-dependencies"]["testing"])}
    assert kit["d1-gateway"].specifier.contains(_version(wheels["d1-gateway"]))
