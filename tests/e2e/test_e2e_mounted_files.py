"""Files as Kubernetes mounts a Secret under `fsGroup`, read by a gateway that does not run as root."""

import asyncio
import json
import os
import secrets
import shutil
import ssl
import subprocess
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from joserfc.jwk import ECKey

from sandbox.common.pki import Pki, make_pki
from sandbox.gateway import GatewayConfig, write_policy
from tests.e2e.command import ended, started

_NOBODY, _FS_GROUP = 65534, 4242
_AS_NOBODY = ("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", f"--groups={_FS_GROUP}")
_GATEWAY = (*_AS_NOBODY, sys.executable, "-m", "gateway")
_RELOADED = {"files_reloaded": 3, "policy_reloaded": 1, "jwks_loaded": 1}
"""How often by event; the edge, D1 and gRPC each have a set of files."""


def _may_be_nobody() -> bool:
    # A checkout or an interpreter in somebody's home may be out of reach for other users.
    if os.geteuid() != 0:
        return False
    return not subprocess.run((*_GATEWAY, "--help"), capture_output=True, check=False).returncode  # noqa: S603 (what the tests name)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike pytest's own."""
    if not _may_be_nobody():
        pytest.skip("only root can become another user, who needs access to the interpreter and this checkout")
    made = Path(mkdtemp(prefix="d1-mounted-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@dataclass(frozen=True, slots=True)
class Mount:
    """A Secret's volume, laid out by kubelet: ``name`` -> ``..data/name``, and ``..data`` -> a folder by time."""

    folder: Path

    def publish(self, stamp: str, source: Path) -> None:
        """Mount a folder's files, and switch to all of them at once."""
        stamped = self.folder / f"..{stamp}"
        stamped.mkdir(parents=True)
        for file in source.iterdir():
            mounted = stamped / file.name
            shutil.copyfile(file, mounted)
            os.chown(mounted, 0, _FS_GROUP)
            mounted.chmod(0o440)
            if not (self.folder / file.name).is_symlink():
                (self.folder / file.name).symlink_to(f"..data/{file.name}")
        (self.folder / "..data_tmp").symlink_to(stamped.name)
        (self.folder / "..data_tmp").rename(self.folder / "..data")


def _secret(folder: Path) -> Path:
    """Make everything that a gateway reads, all of it new."""
    make_pki(folder)
    policy = write_policy(folder / "policy.toml")
    policy.write_text(f"{policy.read_text()}# {folder}\n")
    public = ECKey.generate_key("P-256", {"kid": folder.name, "use": "sig", "alg": "ES256"}, private=False)
    (folder / "jwks.json").write_text(json.dumps({"keys": [public.as_dict(private=False)]}))
    (folder / "idempotency-key").write_text(secrets.token_hex(32))
    (folder / "threeds-api-key").write_text("an-api-key")
    return folder


def _settings(folder: Path, mount: Mount) -> Path:
    (state := folder / "state").mkdir()
    os.chown(state, _NOBODY, _NOBODY)
    mounted = mount.folder
    config = GatewayConfig(
        "SANDBOX001",
        Pki.of(mounted),
        "https://127.0.0.1:9",
        state / "d1-gateway.db",
        mounted / "policy.toml",
        threeds_url="https://127.0.0.1:9",
        threeds_api_key_file=mounted / "threeds-api-key",
        more={
            "access.tokens": {"issuer": "https://issuer.example", "jwks_file": mounted / "jwks.json"},
            "idempotency": {"key_file": mounted / "idempotency-key"},
        },
    )
    (file := folder / "d1-gateway.toml").write_text(config.to_toml())
    return file


async def _read_until(process: Process, event: str) -> tuple[Any, Counter[str]]:
    """Read the log until an event; return its line, and how often each event was there until then."""
    assert process.stderr is not None
    events: Counter[str] = Counter()
    async for line in process.stderr:
        logged = json.loads(line)
        events[logged["event"]] += 1
        if logged["event"] == event:
            return logged, events
    raise AssertionError(f"the gateway ended before {event}: {events}")


async def _presented(address: str) -> str:
    host, _, port = address.rpartition(":")
    return await asyncio.to_thread(ssl.get_server_certificate, (host, int(port)))


async def test_a_mounted_secret_is_served_from_and_read_again_when_it_is_switched(folder: Path) -> None:
    mount, first, second = Mount(folder / "mount"), _secret(folder / "first"), _secret(folder / "second")
    mount.publish("2026_11_30_10_00_00.1", first)

    async with started(*_GATEWAY, "serve", "--config", _settings(folder, mount)) as process, asyncio.timeout(60):
        at, _ = await _read_until(process, "gateway_started")
        assert await _presented(at["edge"]) == (first / "edge-server.pem").read_text()

        mount.publish("2026_11_30_10_05_00.2", second)
        events: Counter[str] = Counter()
        while not events >= Counter(_RELOADED):
            assert process.stderr is not None
            events[json.loads(await process.stderr.readline())["event"]] += 1
        assert await _presented(at["edge"]) == (second / "edge-server.pem").read_text()
        assert await _presented(at["grpc"]) == (second / "grpc-server.pem").read_text()


async def test_mounted_keys_that_others_can_read_are_refused_by_owner_mode_and_rule(folder: Path) -> None:
    mount = Mount(folder / "mount")
    mount.publish("2026_11_30_10_00_00.1", _secret(folder / "first"))
    # The mode of a Secret's files without `defaultMode` and `fsGroup`.
    (mount.folder / "edge-server-key.pem").resolve().chmod(0o644)

    async with started(*_GATEWAY, "config", "check", "--config", _settings(folder, mount)) as process:
        checked = await ended(process)

    assert checked.status == 2
    (mistake,) = checked.mistakes
    assert mistake.startswith("d1-gateway: edge.tls_key_file ")
    assert "owner root (0), mode 0644; a private file must belong to nobody (65534) with mode 0600 or less" in mistake
    assert "or to root with mode 0640 or less" in mistake
