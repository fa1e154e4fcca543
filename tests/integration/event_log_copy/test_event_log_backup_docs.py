"""The commands of docs/backup.md, in their order, on files, while a gateway serves or is stopped."""

import asyncio
import re
import shlex
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from gateway.bootstrap import logging
from gateway.ports import Engine
from tests.e2e.command import GATEWAY, invoked
from tests.integration.event_log_copy.copy_stage import ISSUERS, Stage, fill, notifications

_ROOT = Path(__file__).parents[3]
_PAGE = (_ROOT / "docs" / "backup.md").read_text()
_COMMANDS = [
    line.strip()
    for block in re.findall(r"(?ms)^ *```console\n(.*?)```", _PAGE)
    for line in block.splitlines()
    if line.strip().startswith(("$ ", "# "))
]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    # A command that runs in this process would change what later tests log.
    monkeypatch.setattr(logging, "configure", lambda _: None)


async def test_each_command_of_the_page_succeeds_in_its_order(stage: Stage) -> None:
    places = {
        "/etc/d1-gateway/gateway.toml": stage.settings_file(with_nats=False),
        "/var/lib/d1-gateway/events.db": stage.file,
    }
    for name in ("/var/backups/d1-gateway", "/media/safe", "/var/tmp/drill"):  # noqa: S108  of the page
        places[name] = stage.folder / name.strip("/").replace("/", "-")
    for name in ("/var/backups/d1-gateway", "/media/safe"):
        places[name].mkdir()
    stage.file.with_name(f"{stage.file.name}.key").write_text("0" * 64)
    environment: dict[str, str] = {}
    ran = 0
    async with AsyncExitStack() as serving:
        storage = await serving.enter_async_context(stage.opened(Engine.SQLITE))
        await fill(storage.log, notifications(50, seed=61))
        await storage.log.commit(ISSUERS[0], "fraud", 40, 1_000)
        for command in _COMMANDS:
            line = command
            for name, place in places.items():
                line = line.replace(name, str(place))
            _, program, *words = shlex.split(line)
            if line == "# systemctl stop d1-gateway":
                await serving.aclose()
            elif line == "# systemctl start d1-gateway":
                await serving.enter_async_context(stage.opened(Engine.SQLITE))
            elif program == "export":
                name, _, value = words[0].partition("=")
                environment[name] = value
            elif program == "unset":
                del environment[words[0]]
            elif program in {"cp", "mkdir", "rm"}:
                await asyncio.to_thread(subprocess.run, [program, *words], check=True, timeout=10)
            else:
                assert program == "d1-gateway"
                done = await invoked(GATEWAY, *words, environment=environment)
                assert done.status == 0, (line, done)
                ran += 1
    assert ran >= 12
    assert environment.keys() == {"D1_GATEWAY_CONFIG_FILE"}


def test_the_job_of_the_page_mounts_what_the_manifests_do() -> None:
    (job,) = (yaml.safe_load(block) for block in re.findall(r"(?s)```yaml\n(.*?)```", _PAGE))
    manifest = yaml.safe_load((_ROOT / "deploy/kubernetes/base/deployment.yaml").read_text())
    (pod, gateway) = (
        job["spec"]["jobTemplate"]["spec"]["template"]["spec"],
        manifest["spec"]["template"]["spec"],
    )

    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    assert pod["containers"][0]["command"][-1].startswith("d1-gateway log backup --force ")
    assert pod["containers"][0]["env"] == gateway["containers"][0]["env"]
    assert pod["containers"][0]["volumeMounts"][:-2] == gateway["containers"][0]["volumeMounts"]
    assert pod["volumes"][:-2] == gateway["volumes"]
