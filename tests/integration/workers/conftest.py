from pathlib import Path

import pytest

from sandbox.gateway import GatewayConfig, write_policy
from sandbox.pki import make_pki


@pytest.fixture
def settings(tmp_path: Path) -> str:
    """Settings of a gateway whose workers could share what they keep; nobody tries."""
    pki = make_pki(tmp_path / "keys")
    config = GatewayConfig(
        "SANDBOX001", pki, "https://127.0.0.1:9", tmp_path / "none.db", write_policy(tmp_path / "policy.toml")
    )
    nats = '[nats]\nservers = ["nats://127.0.0.1:9"]\nreplicas = 1\n'
    return "drain_grace_seconds = 0\n" + config.to_toml() + nats
