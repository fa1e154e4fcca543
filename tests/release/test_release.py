"""What a user gets: wheels in an environment of their own, on every version of Python that they claim to support."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.clients.client_readme import snippets
from tests.release.environments import claimed_versions, executable, install, new_environment, projects
from tests.release.user_types import type_errors

_CLAIMED = claimed_versions(next(iter(projects().values())))

_SERVICE = """\
from d1_gateway_client import AsyncGatewayClient, ErrorOutcome, GatewayError
from d1_gateway_client.contracts.issuer.card.v1 import SuspendCardRequest


async def suspend(client: AsyncGatewayClient, card_id: str) -> ErrorOutcome | None:
    try:
        await client.cards.suspend_card(SuspendCardRequest(card_id=card_id, reason_code="FRAUD"))
    except GatewayError as error:
        return error.outcome
    return None
"""
_MISTAKE = "\n\nasync def mistaken(client: AsyncGatewayClient) -> int:\n    return await suspend(client, 1)\n"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("version", _CLAIMED)
def test_a_release_demonstrates_itself_serves_a_client_and_types_its_users(
    version: str, wheels: Mapping[str, Path], tmp_path: Path
) -> None:
    python = executable(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed here")
    environment = new_environment(python, tmp_path)
    gateway, client = f"{wheels['d1-gateway']}[nats]", f"{wheels['d1-gateway-client']}[cli,testing]"
    install(environment, wheels["d1-gateway-contracts"], gateway, client)

    demonstration = environment.run("d1-gateway", "demo")
    assert re.fullmatch(r"demo: \d+ steps passed, 0 failed", demonstration.splitlines()[-1])

    service = environment.work / "test_service.py"
    service.write_text(snippets()["Testing your service"])
    (environment.work / "conftest.py").write_text('pytest_plugins = ["d1_gateway_client.testing"]\n')
    assert "1 passed" in environment.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", service.name)

    # Types do not depend on the interpreter.
    if version == _CLAIMED[0]:
        errors = type_errors(environment, right=_SERVICE, mistaken=_SERVICE + _MISTAKE)
        assert errors == [("mistaken", "arg-type"), ("mistaken", "return-value")]


def test_this_version_of_python_is_among_those_that_a_release_claims() -> None:
    assert ".".join(map(str, sys.version_info[:2])) in _CLAIMED


@pytest.mark.parametrize("project", projects().values(), ids=lambda project: project["name"])
def test_every_distribution_claims_the_same_versions_of_python(project: Mapping[str, Any]) -> None:
    assert claimed_versions(project) == _CLAIMED
    assert project["requires-python"] == f">={_CLAIMED[0]}"


def test_the_gateways_wheel_names_the_commit_that_it_was_built_from(wheels: Mapping[str, Path]) -> None:
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--exclude=*"],  # noqa: S607
        cwd=Path(__file__).parent,
        check=True,
        capture_output=True,
        text=True,
    )
    note = zipfile.ZipFile(wheels["d1-gateway"]).read("gateway/commit.txt").decode()
    assert note.strip().removesuffix("-dirty") == described.stdout.strip()


def test_the_wheels_hold_the_packages_their_licence_and_nothing_else(wheels: Mapping[str, Path]) -> None:
    tops = {}
    for distribution, wheel in wheels.items():
        names = zipfile.ZipFile(wheel).namelist()
        assert any(name.endswith("dist-info/licenses/LICENSE") for name in names), wheel.name
        tops[distribution] = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {
        "d1-gateway": {"adapters", "d1gateway", "gateway", "sandbox"},
        "d1-gateway-client": {"d1_gateway_client"},
        "d1-gateway-contracts": {"issuer"},
    }
