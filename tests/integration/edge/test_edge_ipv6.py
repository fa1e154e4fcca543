"""Both listeners on an IPv6 address."""

from pathlib import Path
from typing import Any

from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway import bootstrap
from sandbox import Sandbox
from sandbox.gateway import channel
from tests.running import settings_for


async def test_both_listeners_take_an_ipv6_address(sandbox: Sandbox, tmp_path: Path) -> None:
    settings = settings_for(sandbox, tmp_path)
    grpc, edge = (part.model_copy(update={"host": "::1"}) for part in (settings.grpc, settings.edge))
    async with bootstrap.running(settings.model_copy(update={"grpc": grpc, "edge": edge})) as addresses:
        assert addresses.grpc.startswith("[::1]:")
        assert addresses.edge.startswith("[::1]:")
        async with channel(addresses.grpc, sandbox.pki) as connected:
            stub: Any = health_pb2_grpc.HealthStub(connected)
            response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert response.status == health_pb2.HealthCheckResponse.SERVING
