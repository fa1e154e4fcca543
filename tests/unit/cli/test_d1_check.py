"""``d1-gateway d1 check`` as a shell sees it."""

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from gateway.cli.app import app

KNOWN = Path(__file__).parents[1] / "d1" / "d1-openapi.yaml"


def checked(file: Path) -> Result:
    return CliRunner().invoke(app, ["d1", "check", str(file)], catch_exceptions=False)


def test_a_file_without_a_difference_ends_with_0_and_a_summary() -> None:
    result = checked(KNOWN)

    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[-1].startswith("no difference in 21 calls, ")
    assert lines[-1].endswith(" notes, 0 not in this file")
    assert max(map(len, lines)) <= 80


def test_differences_stand_below_their_call_before_its_notes_and_end_with_1(tmp_path: Path) -> None:
    document = yaml.safe_load(KNOWN.read_text())
    paths = document["paths"]
    document["paths"] = {path: item for path, item in paths.items() if "/3ds/operations" in path or "oauth2" in path}
    history = document["paths"]["/banking/v1/issuers/{issuerId}/cards/{cardId}/3ds/operations"]["get"]
    history["parameters"][-1]["schema"]["maximum"] = 20
    history["parameters"].append({"name": "since\x1b[2J", "in": "query", "required": True})
    file = tmp_path / "some.json"
    file.write_text(json.dumps(document))

    result = checked(file)

    assert result.exit_code == 1
    assert (
        "GET /banking/v1/issuers/{issuer_id}/cards/{card_id}/3ds/operations\n"
        "  list_operations, which the gateway calls\n"
        "  differs  query limit: at most 20, the gateway sends 50\n"
        "  differs  query since\N{REPLACEMENT CHARACTER}[2J: required, and never sent\n"
        "  note     200: the gateway needs more than the file requires\n"
    ) in result.stdout
    assert "\nNot in this file:\n  POST /banking/v2/issuers/{issuer_id}/cards\n" in result.stdout
    assert result.stdout.splitlines()[-1] == "2 differences in 1 of 4 calls, 3 notes, 17 not in this file"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("title: no API", "not an OpenAPI 3 file"),
        ("openapi: 3.0.3\npaths: {/pets: {get: {}, post: {responses: {}}}}", "it has none of the gateway's calls"),
    ],
)
def test_a_file_that_cannot_be_compared_ends_with_2_and_one_line(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(content)

    result = checked(file)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"d1-gateway: {file}: {why}")
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_file_ends_with_2(tmp_path: Path) -> None:
    result = checked(tmp_path / "none")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"d1-gateway: {tmp_path}/none: cannot be read: No such file or directory\n"


def test_without_pyyaml_the_extra_is_named_and_json_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file.json"
    file.write_text(json.dumps(yaml.safe_load(KNOWN.read_text())))
    imported = builtins.__import__

    def without_yaml(name: str, *others: Any) -> Any:
        if name == "yaml":
            raise ModuleNotFoundError(name)
        return imported(name, *others)

    monkeypatch.setattr(builtins, "__import__", without_yaml)

    assert checked(file).exit_code == 0
    refused = checked(KNOWN)
    assert refused.exit_code == 2
    assert "the extra `openapi`" in refused.stderr
