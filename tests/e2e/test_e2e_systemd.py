"""The units of deploy/systemd, and what a gateway tells systemd."""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from gateway.aio.service_manager import watched
from gateway.settings import Settings
from sandbox.gateway import GatewayConfig
from tests.e2e.command import ended, running
from tests.interop.interop_languages import require

_SYSTEMD: Final = Path(__file__).parents[2] / "deploy" / "systemd"
_UNITS: Final = ("d1-gateway.service", "d1-gateway@.service")
_INSTALLED: Final = "/opt/d1-gateway/bin/d1-gateway"
_MAX_EXPOSURE: Final = 25
"""In tenths, as `systemd-analyze security` counts: 100 is unprotected."""
_CLOSING_SECONDS: Final = 10.0
"""Time to close the storage and to send the last traces, once all calls have ended."""


def _ran(*command: str | Path) -> subprocess.CompletedProcess[str]:
    require(str(command[0]))
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own units)


def _lines(unit: str) -> list[str]:
    return (_SYSTEMD / unit).read_text().splitlines()


@pytest.fixture(params=_UNITS)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit whose command exists."""
    made = tmp_path / str(request.param)
    text = (_SYSTEMD / made.name).read_text()
    made.write_text(text.replace(_INSTALLED, str(Path(sys.executable).with_name("d1-gateway"))))
    return made


def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path) -> None:
    checked = _ran("systemd-analyze", "verify", unit)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_unit_is_hardened(unit: Path) -> None:
    checked = _ran("systemd-analyze", "security", "--offline=yes", f"--threshold={_MAX_EXPOSURE}", unit)
    assert checked.returncode == 0, checked.stdout


def test_the_template_differs_in_its_instance_and_has_no_event_log() -> None:
    one, many = (set(_lines(unit)[2:]) for unit in _UNITS)
    assert one - many == {
        "Description=d1-gateway",
        "StateDirectory=d1-gateway",
        "StateDirectoryMode=0700",
        "WorkingDirectory=/var/lib/d1-gateway",
    }
    assert many - one == {"Description=d1-gateway, admin port %i", "Environment=D1_GATEWAY_ADMIN__PORT=%i"}


def test_a_unit_waits_for_a_drain() -> None:
    drain = Settings.model_fields["drain_grace_seconds"].default
    (limit,) = (line.partition("=")[2] for line in _lines(_UNITS[0]) if line.startswith("TimeoutStopSec="))
    assert int(limit) >= drain + _CLOSING_SECONDS


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another group")
def test_settings_and_keys_are_readable_for_the_gateway_and_writable_for_root_alone(tmp_path: Path) -> None:
    (folder := tmp_path / "etc/d1-gateway").mkdir(parents=True)
    for name in ("gateway.toml", "secrets/key.pem", "trust/ca.pem"):
        (file := folder / name).parent.mkdir(exist_ok=True)
        file.touch(mode=0o644)
    users = _ran("systemd-sysusers", f"--root={tmp_path}", _SYSTEMD / "d1-gateway.sysusers.conf")
    assert users.returncode == 0, users.stderr
    user, _, user_id, group_id, *_ = (tmp_path / "etc/passwd").read_text().strip().split(":")

    made = _ran("systemd-tmpfiles", "--create", f"--root={tmp_path}", _SYSTEMD / "d1-gateway.tmpfiles.conf")

    assert (made.returncode, made.stderr) == (0, "")
    assert (user, int(user_id) > 0) == ("d1-gateway", True)
    data = (tmp_path / "var/lib/d1-gateway").stat()
    assert (data.st_uid, data.st_mode & 0o777) == (int(user_id), 0o700)
    for path in (folder, *folder.rglob("*")):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (0, int(group_id))
        assert status.st_mode & 0o777 == (0o750 if path.is_dir() else 0o640)


async def test_systemd_hears_when_a_gateway_is_ready_that_it_lives_and_that_it_drains(
    config: GatewayConfig, tmp_path: Path
) -> None:
    (file := tmp_path / "gateway.toml").write_text(config.to_toml())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address := str(tmp_path / "notify"))
        manager.settimeout(50)
        environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}

        async def heard(after: str) -> str:
            while (state := (await asyncio.to_thread(manager.recv, 100)).decode()) == after:
                pass
            return state

        async with running("serve", "--config", file, environment=environment) as process:
            # It may be alive before it is ready.
            assert await heard("WATCHDOG=1") == "READY=1"
            assert await heard("") == "WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            assert await heard("WATCHDOG=1") == "STOPPING=1"
            assert (await ended(process)).status == 0


async def test_the_watchdog_of_another_process_is_left_to_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address := str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        for process_id, is_heard in ((1, False), (os.getpid(), True)):
            monkeypatch.setenv("WATCHDOG_PID", str(process_id))
            async with watched():
                await asyncio.sleep(0.2)
            assert bool(select.select([manager], [], [], 0)[0]) is is_heard


async def test_a_gateway_that_cannot_reach_systemd_ends_and_says_so(config: GatewayConfig, tmp_path: Path) -> None:
    (file := tmp_path / "gateway.toml").write_text(config.to_toml())
    nobody = tmp_path / "notify"
    async with running("serve", "--config", file, environment={"NOTIFY_SOCKET": str(nobody)}) as process:
        failed = await ended(process)
    assert failed.status == 1
    why = f"cannot report to the service manager at {nobody} (NOTIFY_SOCKET): No such file or directory"
    assert f"d1-gateway: {why}" in failed.mistakes
