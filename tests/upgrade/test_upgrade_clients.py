"""Services and gateways are not upgraded on the same day: a client of one release works with a gateway of another."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.d1.model.contract import DELIVER_OTP
from sandbox.d1.model.notification import Notification
from sandbox.gateway import GatewayConfig, GatewayProcess
from tests.e2e.command import calling, ended, started

_SERVICE = Path(__file__).with_name("service.py")
_PRESENT: Sequence[Path] = ()


@pytest.mark.parametrize("upgraded", ["gateway", "client"])
async def test_a_client_works_with_a_gateway_of_another_release(
    release: Sequence[Path], tmp_path: Path, upgraded: str
) -> None:
    of_gateway, of_client = (_PRESENT, release) if upgraded == "gateway" else (release, _PRESENT)
    async with Sandbox.start(tmp_path / "keys") as sandbox:
        config = GatewayConfig.of(sandbox, tmp_path)
        async with await GatewayProcess.start(config, tmp_path, packages=of_gateway) as gateway:
            sandbox.set_edge(gateway.edge)
            result = await _served(sandbox, gateway, of_client)
            home = _home(gateway)
        log = gateway.log.read_text()

    assert (home == tmp_path) == bool(of_gateway)
    assert any(Path(result["client"]).is_relative_to(each) for each in release) == bool(of_client)
    assert result["reason"] == "UPSTREAM_FORBIDDEN"
    assert result["otps"] == ["004211"]
    assert result["operations"] == ["op_1", "op_2"]
    assert result["lags"] == [0]
    assert '"level":"error"' not in log


def _home(gateway: GatewayProcess) -> Path:
    return Path(f"/proc/{gateway.pid}/cwd").readlink()


async def _served(sandbox: Sandbox, gateway: GatewayProcess, packages: Sequence[Path]) -> dict[str, Any]:
    """Run the service with a release's client while D1 calls back; return what it prints at the end."""
    environment = {**calling(gateway, sandbox.pki), "PYTHONPATH": os.pathsep.join(map(str, packages))}
    assert await sandbox.notifier.send(Notification("card_1", "op_1", datetime.now(UTC))) == 204
    async with started(sys.executable, _SERVICE, environment=environment) as service:
        assert service.stdout is not None
        line = await service.stdout.readline()
        assert line == b"serving\n", (await ended(service)).stderr
        response = await sandbox.edge.call(
            DELIVER_OTP, {"consumerId": "consumer_1"}, correlation_id="otp_1", body={"otp": {"value": "004211"}}
        )
        assert response.status == DELIVER_OTP.success
        assert await sandbox.notifier.send(Notification("card_1", "op_2", datetime.now(UTC))) == 204
        result = await ended(service)
    assert (result.status, result.stderr) == (0, "")
    return dict(json.loads(result.stdout))
