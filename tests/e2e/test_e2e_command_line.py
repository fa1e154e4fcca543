import hashlib
import json
import re
import socket
import tomllib
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer

from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.e2e.command import CLIENT, GATEWAY, d1_gateway, invoked

_EDGE = re.compile(r"(\[edge\]\nport = )0")
_GRPC = re.compile(r"(\[grpc\]\nport = )0")

# Python imports a module of this name at its start.
_AT_END = """
import atexit, gc, json, pathlib

def tell():
    told = {
        "collections": sum(each["collections"] for each in gc.get_stats()),
        "enabled": gc.isenabled(),
        "frozen": gc.get_freeze_count(),
        "unfrozen": len(gc.get_objects()),
    }
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(told))

atexit.register(tell)
"""


@pytest.fixture
async def at_end(config: GatewayConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a gateway says of itself that became ready, served nobody and ended."""
    (tmp_path / "sitecustomize.py").write_text(_AT_END)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with await GatewayProcess.start(config, tmp_path):
        pass
    return json.loads((tmp_path / "sitecustomize.json").read_text())


def _written(folder: Path, toml: str) -> Path:
    file = folder / "settings.toml"
    file.write_text(toml)
    return file


async def test_good_settings_are_printed_whole_with_the_secret_masked(config: GatewayConfig, tmp_path: Path) -> None:
    ended = await d1_gateway("config", "check", "--config", _written(tmp_path, config.to_toml()))

    assert ended.status == 0, ended.stderr
    assert ended.stderr == ""
    printed = tomllib.loads(ended.stdout)
    assert printed["edge"]["oauth"]["client_secret_sha256"] == "***"
    assert hashlib.sha256(b"client-secret").hexdigest() not in ended.stdout
    assert printed["d1"]["base_url"] == "https://127.0.0.1:9"
    assert printed["drain_grace_seconds"] == 10.0, "what the file does not name stands there as well"


@pytest.mark.parametrize(("app", "name"), [(GATEWAY, "d1-gateway"), (CLIENT, "d1-gateway-client")])
async def test_a_command_line_names_its_version(app: typer.Typer, name: str) -> None:
    ended = await invoked(app, "--version")

    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.split(",")[0].strip() == f"{name} {metadata.version(name)}"


@pytest.mark.parametrize(
    ("program", "word", "command"), [("d1-gateway", "conf", "config"), ("d1-gateway-client", "subs", "subscriptions")]
)
async def test_a_shell_completes_commands(program: str, word: str, command: str) -> None:
    asked = {"COMP_WORDS": f"{program} {word}", "COMP_CWORD": "1"}
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    ended = await d1_gateway(program=program, environment={variable: "complete_bash", **asked})

    assert (ended.status, ended.stdout.split(), ended.stderr) == (0, [command], "")


def _wrong_settings(toml: str) -> str:
    wrong = toml.replace("[edge]\n", '[edge]\nhots = "127.0.0.1"\nmax_body_bytes = "large"\n')
    return re.sub(r"\[grpc\]\n(.+\n)+", '[grpc]\nhost = "0.0.0.0"\n', wrong) + '\n[log]\nlevel = "loud"\n'


def _wrong_key(toml: str) -> str:
    return toml.replace("keys/d1-encryption-public.jwk.json", "settings.toml")


@pytest.mark.parametrize(
    ("spoil", "places"),
    [
        (_wrong_settings, ["edge.hots", "edge.max_body_bytes", "grpc", "log.level"]),
        (_wrong_key, ["issuers.SANDBOX001.d1_encryption_keys.0.file"]),
    ],
)
async def test_every_mistake_is_one_line_that_names_its_place(
    config: GatewayConfig, tmp_path: Path, spoil: Callable[[str], str], places: list[str]
) -> None:
    ended = await invoked(GATEWAY, "config", "check", "--config", _written(tmp_path, spoil(config.to_toml())))

    assert (ended.status, ended.stdout) == (2, "")
    # The file's name may stand behind the place.
    named = [re.match(r"d1-gateway: ([^ :]+)(?: \([^)]+\))?: .", line) for line in ended.mistakes]
    assert sorted(match[1] if match else "" for match in named) == places, ended.stderr


async def test_without_a_settings_file_a_start_says_how_to_give_one() -> None:
    line = (await invoked(GATEWAY, "serve")).only_line(2)
    assert all(way in line for way in ("--config FILE", "D1_GATEWAY_CONFIG_FILE", "config init --shape"))

    with_a_variable = await invoked(GATEWAY, "serve", environment={"D1_GATEWAY_GRPC__PORT": "1"})
    assert {"d1-gateway: edge: Field required", f"d1-gateway: {line}"} < {*with_a_variable.mistakes}


@pytest.mark.parametrize("listener", [_GRPC, _EDGE], ids=["grpc", "edge"])
async def test_a_gateway_whose_port_is_taken_says_so_and_ends(
    config: GatewayConfig, tmp_path: Path, listener: re.Pattern[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        toml = listener.sub(rf"\g<1>{port}", config.to_toml())
        ended = await d1_gateway("serve", "--config", _written(tmp_path, toml))

    line = ended.only_line(1)
    assert str(port) in line
    assert "address already in use" in line.lower()


@pytest.mark.parametrize("place", ["keys", "settings.toml/d1-gateway.db"])
async def test_a_gateway_whose_event_log_cannot_be_used_says_so_and_ends(
    config: GatewayConfig, tmp_path: Path, place: str
) -> None:
    toml = replace(config, event_log=tmp_path / place).to_toml()
    ended = await d1_gateway("serve", "--config", _written(tmp_path, toml))

    assert "event_log.path" in ended.only_line(2)


async def test_a_start_collects_no_garbage_and_the_gateway_that_serves_does(at_end: Any) -> None:
    # Without that there are 247; the interpreter's own start takes most of the others.
    assert at_end["collections"] < 50
    assert at_end["enabled"]
    assert at_end["unfrozen"] < at_end["frozen"], "later collections skip what the start made"
